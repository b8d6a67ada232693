"""`data`: what datasets hold, before anything is run on them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING, Any, cast

import click

from safebench.console import echo, terminal_capabilities
from safebench.errors import DataError

from . import flags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.datasets import DatasetRequest
    from safebench.datasets.description import Description, Lengths
    from safebench.plugins import Plugins
    from safebench.records import Dataset

EPILOG = """\b
Examples:
  safebench data xstest --counts
  safebench data mine.csv,prompt=question --head 3 --show-text
  safebench data pack:core --counts --json
"""
CONTENT_WARNING = (
    "texts of datasets may be offensive, hateful or harmful, and may try to steer who "
    "reads them"
)
MAX_TEXT = 300  # characters of a text on a terminal


@click.command("data", epilog=EPILOG)
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...")
@click.option(
    "--head",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    metavar="N",
    help="How many of the first rows to list.",
)
@click.option("--counts", is_flag=True, help="Counts alone, no rows.")
@click.option(
    "--show-text",
    is_flag=True,
    help="Show the texts of the rows, which may be offensive or harmful.",
)
@click.option(
    "--all-splits", is_flag=True, help="Every split of a named set, not the first one."
)
@flags.ON_BAD_ROW
@flags.LABEL_MAP
@flags.DATA_ROOT
@flags.JSON
@click.pass_obj
def command(
    plugins: Plugins,
    /,
    *,
    datasets: tuple[str, ...],
    head: int,
    counts: bool,
    show_text: bool,
    all_splits: bool,
    on_bad_row: str | None,
    label_map: tuple[str, ...],
    data_root: str | None,
    as_json: bool,
) -> None:
    """Show what datasets hold: labels, categories, languages, lengths, duplicates.

    DATASET is a name, a file, a hub id or a pack (pack:core), as for `safebench run`.
    No model is loaded. Texts are hidden unless --show-text is given.
    """
    from safebench.config_file import parse_key_values
    from safebench.datasets.pack import expand_packs
    from safebench.datasets.resolve import resolve_dataset

    requests = [
        (
            pack is not None,
            resolve_dataset(
                text,
                plugins,
                data_root=data_root,
                on_bad_row=cast("Any", on_bad_row or "fail"),
                label_map=parse_key_values(label_map, "--label-map"),
            ),
        )
        for text, pack in expand_packs(datasets)
    ]
    if all_splits:
        requests = [
            (of_pack, split)
            for of_pack, request in requests
            for split in _with_all_splits(request)
        ]
    if show_text and not counts and head:
        echo(f"warning: {CONTENT_WARNING}", err=True)
    n_missing = 0
    for of_pack, request in requests:
        try:
            _show(plugins, request, 0 if counts else head, show_text, as_json)
        except DataError as error:
            # of a pack the other sets are shown: which are missing is an answer, too
            if not of_pack:
                raise
            n_missing += 1
            echo(f"{request.label}: cannot be read: {error.message}\n", err=True)
    if n_missing:
        echo(f"{n_missing} of {len(requests)} sets cannot be read", err=True)
        sys.exit(DataError.exit_code)


def _with_all_splits(request: DatasetRequest) -> Iterator[DatasetRequest]:
    """Yield the request for each split that the set has under this name."""
    from dataclasses import replace

    if request.source is not None:
        yield request
        return
    for split in request.spec.splits or (request.split,):
        yield replace(request, split=split)


def _show(
    plugins: Plugins, request: DatasetRequest, head: int, show_text: bool, as_json: bool
) -> None:
    from safebench.datasets.description import describe_dataset, head_rows
    from safebench.datasets.loader import load_dataset
    from safebench.sanitize import json_text, sanitize

    notes: list[str] = []
    dataset = load_dataset(request, say=notes.append)
    description = describe_dataset(dataset)
    source = _source(plugins, request)
    if dataset.licence:  # of sets that are joined, each one's
        source["licence"] = dataset.licence
    if as_json:
        rows = head_rows(dataset, head, (lambda text: text) if show_text else None)
        record = source | asdict(description) | {"head": rows, "notes": notes}
        echo(json_text(record))
        return
    lines = [*_counts(description, source)]
    lines += [f"  note: {note}".replace("\n", "\n    ") for note in notes]
    if head:
        shown = (lambda text: sanitize(text, MAX_TEXT)) if show_text else None
        lines += _rows(head_rows(dataset, head, shown), dataset)
        if not show_text:
            lines.append(
                f"  texts are hidden: {CONTENT_WARNING}; --show-text shows them"
            )
    for line in lines:
        echo(_wrapped(line))
    echo("")


def _wrapped(line: str) -> str:
    """Return a line in the width of the terminal; as it is in a file or a pipe.

    A program that reads one line a fact would lose what is on the next one.
    """
    if not sys.stdout.isatty():
        return line
    width = terminal_capabilities().width or len(line)
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return fill(
        line,
        width,
        subsequent_indent=indent,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


def _source(plugins: Plugins, request: DatasetRequest) -> dict[str, Any]:
    """Return what is known of a set before it is read."""
    from safebench.specs import DatasetSpec

    spec = request.spec
    is_named = request.source is None
    others = [
        other
        for other in plugins.all(DatasetSpec)
        if is_named and spec.hub_id and other.hub_id == spec.hub_id and other != spec
    ]
    return {
        "hub_id": request.source if spec.name == "hub" else spec.hub_id,
        "licence": spec.licence,
        "splits": [*spec.splits] if is_named else [request.split],
        "other_tasks": {other.name: other.task for other in others},
        "trained_on_by": sorted(spec.contaminates),
        "card": None if spec.card is None else asdict(spec.card),
    }


def _counts(d: Description, source: dict[str, Any]) -> Iterator[str]:
    from safebench.datasets.loader import IRREGULARITIES
    from safebench.sanitize import printable

    yield f"{printable(d.name)}  ({d.task})"
    yield from _about(d, source)
    yield f"  rows: {d.rows:,}"
    labels = (f"{name} {n:,}{_share(n, d.rows)}" for name, n in d.labels.items() if n)
    yield f"  labels: {', '.join(labels)}"
    if len([n for name, n in d.labels.items() if n and name != "unknown"]) == 1:
        yield "    one class alone: no AUROC or AUPRC, and recall or FPR at most"
    yield f"  groups: {d.groups:,}, the largest of {d.largest_group:,}"
    yield _lengths("characters of the judged turn", d.judged_characters)
    if d.turns.keys() != {1} or d.documents:
        yield _lengths("characters of all turns and documents", d.all_characters)
    turns = ", ".join(f"{n} in {count:,}" for n, count in d.turns.items())
    roles = ", ".join(f"{role} {n:,}" for role, n in d.judged_roles.items())
    yield f"  turns: {turns}; judged: {printable(roles)}"
    if d.documents:
        yield f"  with documents: {d.documents:,}"
    languages = [f"{name} {n:,}" for name, n in d.languages.items()]
    if d.missing["language"] and languages:
        languages.append(f"not said {d.missing['language']:,}")
    yield f"  languages: {printable(', '.join(languages)) or 'no row says one'}"
    yield from _categories(d)
    irregular = [
        f"{n:,} {IRREGULARITIES[name]}" for name, n in d.irregular.items() if n
    ]
    yield f"  irregular: {', '.join(irregular) or 'nothing'}"
    for column in d.columns:
        yield _column(column.name, column.known, column.distinct, column.values, d.rows)


def _about(d: Description, source: dict[str, Any]) -> Iterator[str]:
    from safebench.sanitize import printable

    facts = [source["hub_id"], f"revision {d.revision}", f"licence {source['licence']}"]
    yield f"  source: {', '.join(printable(fact) for fact in facts if fact)}"
    card = source["card"]
    expected = card["rows"] if card else {}
    if expected or len(source["splits"]) > 1:
        splits = (
            f"{name} {expected[name]:,}" if name in expected else name
            for name in source["splits"]
        )
        note = " (rows of the published set)" if expected else ""
        yield f"  splits: {', '.join(splits)}{note}"
    if card:
        yield f"  what it does not tell: {card['untold']}"
        if card["gated"]:
            yield "  gated: its terms are accepted on its page"
    if source["other_tasks"]:
        others = (f"{name} ({task})" for name, task in source["other_tasks"].items())
        yield f"  the same source by other labels: {', '.join(others)}"
    if source["trained_on_by"]:
        yield f"  guards were trained on it: {', '.join(source['trained_on_by'])}"


def _share(n: int, rows: int) -> str:
    return f" ({100 * n / rows:.1f} %)"


def _lengths(what: str, lengths: Lengths) -> str:
    return (
        f"  {what}: {lengths.least:,} to {lengths.most:,}, half of them from "
        f"{lengths.lower_quartile:,} to {lengths.upper_quartile:,}, median "
        f"{lengths.median:,}"
    )


def _categories(d: Description) -> Iterator[str]:
    from safebench.sanitize import printable

    if not d.categories:
        yield "  categories: not annotated"
        return
    n_missing = d.missing["categories"]
    missing = f", {n_missing:,} rows not annotated" if n_missing else ""
    yield f"  categories ({d.policy or 'no policy'}){missing}:"
    width = max(len(printable(category.code)) for category in d.categories)
    yield f"    {'':<{width}}  {'true':>8} {'false':>8} {'unknown':>8}"
    for c in d.categories:
        name = "" if c.name is None or c.name == c.code else f"  {printable(c.name)}"
        yield (
            f"    {printable(c.code):<{width}}  {c.true:>8,} {c.false:>8,} "
            f"{c.unknown:>8,}{name}"
        )


def _column(
    name: str, known: int, distinct: int, values: dict[str, int] | None, rows: int
) -> str:
    from safebench.sanitize import sanitize

    missing = f", {rows - known:,} empty" if known < rows else ""
    head = f"  column {sanitize(name, 60)}: {distinct:,} values{missing}"
    if not values:
        return head
    shown = ", ".join(f"{sanitize(value, 40)} {n:,}" for value, n in values.items())
    others = distinct - len(values)
    return f"{head}: {shown}" + (f" and {others:,} others" if others else "")


def _rows(rows: list[dict[str, Any]], dataset: Dataset) -> Iterator[str]:
    from safebench.sanitize import sanitize

    more = len(dataset) - len(rows)
    yield f"  first {len(rows)} of {len(dataset):,} rows:" if more else "  all rows:"
    for row in rows:
        facts = [row["label"]]
        if row["categories"]:
            facts.append(",".join(row["categories"]))
        if row["language"]:
            facts.append(row["language"])
        yield f"    {sanitize(row['id'], 60)}  {sanitize('  '.join(facts))}"
        parts = [("document", document) for document in row["documents"]]
        parts += [
            (f"{turn['role']}{' (judged)' if turn['judged'] else ''}", turn)
            for turn in row["turns"]
        ]
        for name, part in parts:
            text = part.get("text", f"{part['characters']:,} characters")
            yield f"      {name}: {text}"
