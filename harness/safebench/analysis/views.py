"""Draw the analysis for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, fields, is_dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from .sections import sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

    from safebench.reporters.table import View

    from .analyse import Analysis, Combination
    from .members import Members
    from .section import Section

FORMATS = ("table", "md", "json")
_WIDEST = 100  # of tables, without a terminal
_FOLDED = 20  # cells that a name keeps at least: that of most strategies
_GAP = 2
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\|`*_<>[]#"})


def render(analysis: Analysis, form: str, view: View) -> str:
    """Return the analysis in one of `FORMATS`."""
    if form == "json":
        return to_json(analysis)
    found = list(sections(analysis, unicode=view.unicode, full=False))
    return to_markdown(found) if form == "md" else to_terminal(found, view)


def to_terminal(found: Iterable[Section], view: View) -> str:
    """Return text with ANSI styles only as `view` allows them."""
    from rich.console import Console

    memory = io.BytesIO()
    width = view.width or _WIDEST
    with io.TextIOWrapper(memory, encoding=view.encoding, errors="replace") as file:
        console = Console(
            file=file,
            width=width,
            force_terminal=view.styles,
            color_system="standard" if view.styles else None,
            no_color=not view.colour,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        for section in found:
            for item in _drawn(_fitted(section, width)):
                console.print(item)
        file.flush()
        text = memory.getvalue().decode(view.encoding)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def _fitted(section: Section, width: int) -> Section:
    """Leave out columns from the right until names keep a readable width."""
    kept = len(section.headers)
    while kept > section.left + 1 and _width(section, kept) > width:
        kept -= 1
    if kept == len(section.headers):
        return section
    lost = ", ".join(section.headers[kept:])
    return replace(
        section,
        headers=section.headers[:kept],
        rows=tuple(row[:kept] for row in section.rows),
        notes=(*section.notes, f"no room for {lost}: see all with --format md"),
    )


def _width(section: Section, columns: int) -> int:
    """Return the least cells that the first columns take; names may fold."""
    from rich.cells import cell_len

    widest = [
        max(cell_len(row[place]) for row in (section.headers, *section.rows))
        for place in range(columns)
    ]
    names = [min(width, _FOLDED) for width in widest[: section.left]]
    return sum(names) + sum(widest[section.left :]) + _GAP * (columns - 1)


def _drawn(section: Section) -> Iterator[RenderableType]:
    """Yield title, table and notes; names are `Text`: no markup in them is obeyed."""
    from rich.box import SIMPLE_HEAD
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    if section.level == 1:
        yield Rule(Text(section.title, style="bold"), align="left", style="dim")
    else:
        yield Text(section.title, style="bold")
    if section.rows:
        table = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            header_style="bold",
            border_style="dim",
        )
        for place, header in enumerate(section.headers):
            flush = place < section.left
            table.add_column(
                Text(header),
                justify="left" if flush else "right",
                overflow="fold",
                no_wrap=not flush,
            )
        for row in section.rows:
            table.add_row(*map(Text, row))
        yield table
    for note in section.notes:
        yield Text(note, style="dim")
    yield Text()


def to_markdown(found: Iterable[Section]) -> str:
    """Return headings, tables and lists."""
    blocks = []
    for section in found:
        blocks.append(f"{'#' * (section.level + 1)} {_escaped(section.title)}")
        if section.rows:
            places = range(len(section.headers))
            rules = [":--" if place < section.left else "--:" for place in places]
            rows = [_row(map(_escaped, row)) for row in section.rows]
            headers = _row(map(_escaped, section.headers))
            blocks.append("\n".join([headers, _row(rules), *rows]))
        if section.notes:
            blocks.append("\n".join(f"- {_escaped(note)}" for note in section.notes))
    return "\n\n".join(blocks)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.translate(_SPECIAL)


def to_json(analysis: Analysis) -> str:
    """Return one object, unrounded; curves at every sample are left to their areas.

    Only ASCII is written: what steers a terminal in a prompt stays an escape.
    """
    record = {
        "run": analysis.run,
        "part": analysis.part,
        "combinations": [_combination(each) for each in analysis.combinations],
        "contests": [_plain(each) for each in analysis.contests],
        "members": [_members(each) for each in analysis.members],
        "agreements": [_plain(each) for each in analysis.agreements],
        "notes": list(analysis.notes),
    }
    return json.dumps(record, indent=2, allow_nan=False)


def _combination(found: Combination) -> dict[str, Any]:
    predictions, curve = found.predictions, found.selective
    record = {
        **{
            name: getattr(predictions, name)
            for name in ("classifier", "model", "strategy", "dataset", "task", "n")
        },
        "n_pos": int(predictions.y.sum()),
        "n_failed": sum(error is not None for error in predictions.errors),
        "threshold": predictions.threshold,
        "accuracy": found.accuracy,
        "uncertainty": found.doubt.source if found.doubt else None,
    }
    for name in ("detection", "calibration", "slices", "hardest", "mistakes", "notes"):
        record[name] = _plain(getattr(found, name))
    record["selective"] = None
    if curve is not None:
        kept = {f.name: getattr(curve, f.name) for f in fields(curve)}
        kept = {k: v for k, v in kept.items() if k not in ("coverage", "risk")}
        record["selective"] = _plain(kept | {"e_aurc": curve.e_aurc})
    return record


def _members(found: Members) -> dict[str, Any]:
    """Return all but the columns of every sample, which only pictures need."""
    samples = ("mean", "spread", "wrong")
    record: dict[str, Any] = _plain(found)
    return {k: v for k, v in record.items() if k not in samples}


def _plain(value: Any) -> Any:
    """Return what JSON can hold: records as objects, NaN and infinity as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # an array or a numpy scalar
        return _plain(value.tolist())
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
