"""Published results of other models, shown beside measured ones and never ranked."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .table import Cell, LeaderboardLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .table import Leaderboard

ABOUT_FILE = "about.yaml"
ROW_FILES = ("prompts.jsonl", "responses.jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSource:
    """A document that numbers come from."""

    document: str
    table: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedDataset:
    """What numbers were measured on; `dataset` and `split` are safebench's names.

    `dataset` is None for one that safebench does not have, `slice` names a part of it.
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
class PublishedValue:
    """One published number of one model on one dataset.

    `also` are other values that were published for the same cell. `threshold` is None
    for the model's own verdict, `in_distribution` where it is not known.
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
class PublishedResults:
    """All published values, with the datasets and documents that they refer to."""

    sources: Mapping[str, PublishedSource]
    sets: Mapping[str, PublishedDataset]
    rows: tuple[PublishedValue, ...]


def reference_folder() -> Path:
    """Return where the values are: in an installed package, or in a checkout."""
    installed = Path(__file__).with_name("published")
    if installed.is_dir():
        return installed
    return Path(__file__).parents[3] / "benchmarks" / "reference"


def read_published(folder: Path | None = None) -> PublishedResults:
    """Read the published values; the files are the package's own and are trusted."""
    import yaml

    folder = folder or reference_folder()
    about = yaml.safe_load((folder / ABOUT_FILE).read_text(encoding="utf-8"))
    records = [
        json.loads(line)
        for name in ROW_FILES
        for line in (folder / name).read_text(encoding="utf-8").splitlines()
    ]
    rows = [
        PublishedValue(
            **record
            | {"sources": tuple(record["sources"]), "also": tuple(record["also"])}
        )
        for record in records
    ]
    return PublishedResults(
        {key: PublishedSource(**source) for key, source in about["sources"].items()},
        {key: PublishedDataset(**dataset) for key, dataset in about["sets"].items()},
        tuple(rows),
    )


def add_published(table: Leaderboard, published: PublishedResults) -> Leaderboard:
    """Return the table with published lines below the measured ones of each dataset.

    Only numbers of its datasets, tasks and metrics are added. It is called when lines
    are sorted and the best are marked, so a published number can be neither.
    """
    lines: list[LeaderboardLine] = []
    used: list[PublishedValue] = []
    for _, members in groupby(table.lines, key=lambda line: line.section):
        measured = list(members)
        rows = _matching_values(measured[0], table.metrics, published)
        lines += [
            *measured,
            *_published_lines(measured[0], rows, table.metrics, published),
        ]
        used += rows
    notes = tuple(_footnotes(used, published))
    blocks = table.blocks
    if blocks:  # the first has the scores, which are what others publish
        blocks = (add_published(blocks[0], published), *blocks[1:])
    return replace(
        table,
        lines=tuple(lines),
        footnotes=(*table.footnotes, *notes),
        blocks=blocks,
    )


def _matching_values(
    line: LeaderboardLine, metrics: Sequence[str], published: PublishedResults
) -> list[PublishedValue]:
    """Return the values on a line's dataset and task, whole datasets only."""
    name, *rest = line.dataset.split(":")  # NAME, NAME:SPLIT or NAME:CONFIG:SPLIT
    split = rest[-1] if rest else ""

    keys = {
        key
        for key, dataset in published.sets.items()
        if (dataset.dataset, dataset.split, dataset.task) == (name, split, line.task)
        and dataset.slice is None
    }
    return [row for row in published.rows if row.set in keys and row.metric in metrics]


def _published_lines(
    measured: LeaderboardLine,
    rows: Sequence[PublishedValue],
    metrics: Sequence[str],
    published: PublishedResults,
) -> Iterator[LeaderboardLine]:
    """Yield one line a model, dataset and source, in the order of the files."""
    by_line: dict[tuple[str, str, tuple[str, ...]], dict[str, PublishedValue]] = {}
    for row in rows:
        # Numbers of two documents are not mixed in one line: their set-ups differ.
        key = (row.name, row.set, row.sources)
        by_line.setdefault(key, {})[row.metric] = row
    for (name, dataset_key, sources), by_metric in by_line.items():
        dataset = published.sets[dataset_key]
        yield LeaderboardLine(
            classifier=name,
            model="",
            strategy=_published_method(next(iter(by_metric.values()))),
            dataset=measured.dataset,
            task=measured.task,
            cells=tuple(
                Cell(value=by_metric[m].value if m in by_metric else None)
                for m in metrics
            ),
            n=dataset.n or 0,
            n_pos=dataset.n_pos,
            n_failed=0,
            ranked=False,
            source=",".join(sources),
        )


def _published_method(row: PublishedValue) -> str:
    suffix = ", in-distribution" if row.in_distribution else ""
    return f"published [{','.join(row.sources)}]{suffix}"


def _footnotes(
    used: Sequence[PublishedValue], published: PublishedResults
) -> Iterator[str]:
    if not used:
        yield "no published number fits the datasets and metrics shown"
        return
    source_keys = dict.fromkeys(key for row in used for key in _source_keys(row))
    sources = (
        f"[{key}] {published.sources[key].document}, {published.sources[key].table}"
        for key in source_keys
    )
    yield (
        "published lines were not measured here and are not ranked; their thresholds "
        f"are the models' own: {'; '.join(sources)}"
    )
    for key in dict.fromkeys(row.set for row in used):
        yield from _dataset_caveat(key, used, published)
    yield from _in_distribution_notes(used)
    for row in used:
        for other in row.also:
            yield (
                f"{row.name} on {published.sets[row.set].name}: {row.metric} "
                f"{row.value:.3f} [{','.join(row.sources)}], but {other['value']:.3f} "
                f"[{other['source']}]"
            )


def _source_keys(row: PublishedValue) -> list[str]:
    return [*row.sources, *(other["source"] for other in row.also)]


def _dataset_caveat(
    key: str, used: Sequence[PublishedValue], published: PublishedResults
) -> Iterator[str]:
    """Yield which samples a dataset's numbers rest on, and in which sources."""
    dataset = published.sets[key]
    sources = dict.fromkeys(
        source for row in used if row.set == key for source in row.sources
    )
    # many caveats name the number of samples themselves
    names_n = dataset.n is None or f"{dataset.n:,}" in dataset.caveat
    parts = [] if names_n else [f"n = {dataset.n:,}"]
    parts += [dataset.caveat] if dataset.caveat else []
    if parts:
        yield f"{dataset.name} in [{'], ['.join(sources)}]: {'; '.join(parts)}"


def _in_distribution_notes(used: Sequence[PublishedValue]) -> Iterator[str]:
    """Yield which models were trained on data of the same source."""
    models = dict.fromkeys(row.model for row in used if row.in_distribution)
    if models:
        yield (
            f"in-distribution, trained on data of the same source: {', '.join(models)}"
        )

    if any(row.in_distribution is None for row in used):
        yield (
            "of the other published models it is not known for all that they have not "
            "seen these sets in training"
        )
