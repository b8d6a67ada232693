"""Numbers that others published, shown beside measured ones and never ranked."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .table import Cell, Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .table import Table

ABOUT = "about.yaml"
FILES = ("prompts.jsonl", "responses.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A document that numbers come from."""

    document: str
    table: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """What numbers were measured on; `dataset` and `split` are safebench's names.

    They are None for a set that safebench does not have. `slice` is a part of it.
    """

    name: str
    task: str
    dataset: str | None
    split: str
    n: int | None
    n_pos: int | None
    caveat: str
    slice: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One published number of one model on one set.

    `also` are other values that were published for the same cell. `threshold` None:
    the model's own verdict. `in_distribution` None: nobody says.
    """

    model: str
    mode: str | None
    set: str
    metric: str
    value: float
    sources: tuple[str, ...]
    also: tuple[dict[str, Any], ...]
    threshold: float | None
    in_distribution: bool | None
    note: str

    @property
    def name(self) -> str:
        """The model, with the mode that it ran in."""
        return self.model + (f" ({self.mode})" if self.mode else "")


@dataclass(frozen=True, slots=True)
class Published:
    """All reference rows, with what they are about."""

    sources: Mapping[str, Source]
    sets: Mapping[str, Set]
    rows: tuple[Reference, ...]


def reference_folder() -> Path:
    """Return where the rows are: in an installed package, or in a checkout."""
    installed = Path(__file__).with_name("published")
    if installed.is_dir():
        return installed
    return Path(__file__).parents[3] / "benchmarks" / "reference"


def read_published(folder: Path | None = None) -> Published:
    """Read the reference rows; the files are the package's own and are trusted."""
    import yaml

    folder = folder or reference_folder()
    about = yaml.safe_load((folder / ABOUT).read_text(encoding="utf-8"))
    lines = [
        json.loads(line)
        for name in FILES
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    rows = [
        Reference(
            **(row | {"sources": tuple(row["sources"]), "also": tuple(row["also"])})
        )
        for row in lines
    ]
    return Published(
        {key: Source(**each) for key, each in about["sources"].items()},
        {key: Set(**each) for key, each in about["sets"].items()},
        tuple(rows),
    )


def with_reference(table: Table, published: Published) -> Table:
    """Return the table with published lines below the measured ones of each dataset.

    Only numbers of its datasets, tasks and metrics are added. It is called when lines
    are sorted and the best are marked, so a published number can be neither.
    """
    lines: list[Line] = []
    used: list[Reference] = []
    for _, members in groupby(table.lines, key=lambda line: line.section):
        measured = list(members)
        rows = _fitting(measured[0], table.metrics, published)
        lines += [*measured, *_lines(measured[0], rows, table.metrics, published)]
        used += rows
    notes = tuple(_footnotes(used, published))
    return replace(table, lines=tuple(lines), footnotes=(*table.footnotes, *notes))


def _fitting(
    line: Line, metrics: Sequence[str], published: Published
) -> list[Reference]:
    """Return the rows on a line's dataset and task, whole sets only."""
    name, *rest = line.dataset.split(":")
    split = rest[-1] if rest else ""
    found = {
        key
        for key, each in published.sets.items()
        if (each.dataset, each.split, each.task) == (name, split, line.task)
        and each.slice is None
    }
    return [row for row in published.rows if row.set in found and row.metric in metrics]


def _lines(
    beside: Line,
    rows: Sequence[Reference],
    metrics: Sequence[str],
    published: Published,
) -> Iterator[Line]:
    """Yield one line a model, set and source, in the order of the files."""
    together: dict[tuple[str, str, tuple[str, ...]], dict[str, Reference]] = {}
    for row in rows:
        place = (row.name, row.set, row.sources)
        together.setdefault(place, {})[row.metric] = row
    for (name, set_, sources), by_metric in together.items():
        about = published.sets[set_]
        yield Line(
            classifier=name,
            model="",
            strategy=_method(next(iter(by_metric.values()))),
            dataset=beside.dataset,
            task=beside.task,
            cells=tuple(
                Cell(value=by_metric[m].value if m in by_metric else None)
                for m in metrics
            ),
            n=about.n or 0,
            n_pos=about.n_pos,
            n_failed=0,
            ranked=False,
            source=",".join(sources),
        )


def _method(row: Reference) -> str:
    mark = ", in-distribution" if row.in_distribution else ""
    return f"published [{','.join(row.sources)}]{mark}"


def _footnotes(used: Sequence[Reference], published: Published) -> Iterator[str]:
    if not used:
        yield "no published number fits the datasets and metrics shown"
        return
    letters = dict.fromkeys(letter for row in used for letter in _letters(row))
    told = (
        f"[{key}] {published.sources[key].document}, {published.sources[key].table}"
        for key in letters
    )
    yield (
        "published lines were not measured here and are not ranked; their thresholds "
        f"are the models' own: {'; '.join(told)}"
    )
    for key in dict.fromkeys(row.set for row in used):
        yield from _caveat(key, used, published)
    yield from _seen(used)
    for row in used:
        for other in row.also:
            yield (
                f"{row.name} on {published.sets[row.set].name}: {row.metric} "
                f"{row.value:.3f} [{','.join(row.sources)}], but {other['value']:.3f} "
                f"[{other['source']}]"
            )


def _letters(row: Reference) -> list[str]:
    return [*row.sources, *(other["source"] for other in row.also)]


def _caveat(key: str, used: Sequence[Reference], published: Published) -> Iterator[str]:
    """Say what rows a set's numbers rest on, and in which sources."""
    about = published.sets[key]
    letters = dict.fromkeys(x for row in used if row.set == key for x in row.sources)
    counted = about.n is not None and str(f"{about.n:,}") not in about.caveat
    parts = [f"n = {about.n:,}"] if counted else []
    parts += [about.caveat] if about.caveat else []
    if parts:
        yield f"{about.name} in [{'], ['.join(letters)}]: {'; '.join(parts)}"


def _seen(used: Sequence[Reference]) -> Iterator[str]:
    """Name the models that were trained on data of the same source."""
    known = dict.fromkeys(row.model for row in used if row.in_distribution)
    if known:
        yield f"in-distribution, trained on data of the same source: {', '.join(known)}"
    if any(row.in_distribution is None for row in used):
        yield (
            "of the other published models it is not known for all that they have not "
            "seen these sets in training"
        )
