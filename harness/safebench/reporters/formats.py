"""Output formats of the leaderboard: Markdown, LaTeX, CSV and JSON.

Markdown and LaTeX round and highlight for readers; CSV and JSON are unrounded, for
programs, and their field names stay.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

from safebench.number_format import format_metric, format_metric_interval
from safebench.sanitize import json_text, printable

from .layout import TIE_MARK

if TYPE_CHECKING:
    from safebench.console import RenderOptions

    from .table import Cell, Leaderboard, LeaderboardLine

# underscores inside of a word are no emphasis, and read better unescaped
_MARKDOWN_SPECIAL = re.compile(r"([\\|`*<\[\]]|(?<!\w)_|_(?!\w))")
_LATEX_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{char: f"\\{char}" for char in "&%$#_{}"},
    }
)
# what makes a cell a formula (OWASP, CSV injection), full-width forms included
_FORMULA_STARTS = (*"=+-@\t\r\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NAME_HEADERS = ("classifier", "model", "strategy")
LINE_FIELDS = (
    "dataset",
    "task",
    "classifier",
    "model",
    "strategy",
    "calibrator",
    "run",
)
CELL_FIELDS = (
    "value",
    "ci_low",
    "ci_high",
    "ci_method",
    "bound_low",
    "bound_high",
    "n_scored",
    "note",
)


def render_markdown(table: Leaderboard, options: RenderOptions) -> str:
    """Return a table with a column for the dataset, then the footnotes."""
    names = ["dataset", *_NAME_HEADERS]
    numbers = [*table.metrics, "n", "failed"]
    lines = [
        _markdown_row([_escape_markdown(name) for name in names + numbers]),
        _markdown_row([":--"] * len(names) + ["--:"] * len(numbers)),
        *(_markdown_row(_markdown_cells(line, table, options)) for line in table.lines),
    ]
    if table.title:
        lines = [f"**{_escape_markdown(table.title)}**", "", *lines]
    if table.footnotes:
        lines += ["", *(f"- {_escape_markdown(note)}" for note in table.footnotes)]
    return "\n".join(lines)


def _markdown_cells(
    line: LeaderboardLine, table: Leaderboard, options: RenderOptions
) -> list[str]:
    names = (line.section, line.classifier, line.model, line.method)
    numbers = [
        _markdown_number(cell, metric, options, ci=table.ci)
        for cell, metric in zip(line.cells, table.metrics, strict=True)
    ]
    return [*map(_escape_markdown, names), *numbers, *line.counts]


def _markdown_number(
    cell: Cell, metric: str, options: RenderOptions, *, ci: bool
) -> str:
    text = format_metric(cell.value, metric, options.decimals)
    text = f"**{text}**" if cell.best else text
    if not ci:
        return text
    interval = format_metric_interval(
        cell.ci_low, cell.ci_high, metric, options.decimals
    )
    tie = TIE_MARK if cell.ties_with_best else ""
    return " ".join(filter(None, (tie + text, _escape_markdown(interval))))


def _escape_markdown(text: str) -> str:
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def render_latex(table: Leaderboard, options: RenderOptions) -> str:
    """Return a tabular in the style of booktabs, one block a dataset.

    The footnotes are comments above it: a paper has its own way to set them.
    """
    headers = [*_NAME_HEADERS, *table.metrics, "n", "failed"]
    align = "l" * len(_NAME_HEADERS) + "r" * (len(headers) - len(_NAME_HEADERS))
    notes = filter(None, (table.title, *table.footnotes))
    lines = [
        *(f"% {printable(note)}" for note in notes),  # a second line would be code
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        _latex_row([header.translate(_LATEX_SPECIAL) for header in headers]),
    ]
    for name, section in table.sections:
        title = rf"\textit{{{name.translate(_LATEX_SPECIAL)}}}"
        lines += [
            r"\midrule",
            _latex_row([rf"\multicolumn{{{len(headers)}}}{{l}}{{{title}}}"]),
        ]
        lines += [_latex_row(_latex_cells(line, table, options)) for line in section]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_cells(
    line: LeaderboardLine, table: Leaderboard, options: RenderOptions
) -> list[str]:
    names = (line.classifier, line.model, line.method)
    numbers = [
        _latex_number(cell, metric, options, ci=table.ci)
        for cell, metric in zip(line.cells, table.metrics, strict=True)
    ]
    escaped = [name.translate(_LATEX_SPECIAL) for name in names]
    return [*escaped, *numbers, *line.counts]


def _latex_number(cell: Cell, metric: str, options: RenderOptions, *, ci: bool) -> str:
    text = format_metric(cell.value, metric, options.decimals, missing="--")
    text = rf"\textbf{{{text}}}" if cell.best else text
    if not ci:
        return text
    tie = r"$\sim$" if cell.ties_with_best else ""
    interval = format_metric_interval(
        cell.ci_low, cell.ci_high, metric, options.decimals
    )
    return " ".join(filter(None, (tie + text, interval)))


def _latex_row(cells: list[str]) -> str:
    text = " & ".join(cells)
    # LaTeX takes a bracket after the \\ of the row before as an option of that \\
    guard = "{}" if text.startswith("[") else ""
    return rf"{guard}{text} \\"


def render_csv(table: Leaderboard, options: RenderOptions) -> str:  # noqa: ARG001 - numbers stay unrounded
    """Return a header and one row a line; an undefined number is an empty field.

    With intervals, each metric is followed by its ends. A name that a spreadsheet
    would run as a formula gets an apostrophe before it.
    """
    ends = ("", "_low", "_high") if table.ci else ("",)
    headers = [_no_formula(metric + end) for metric in table.metrics for end in ends]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*LINE_FIELDS, *headers, "n", "n_failed"])
    for line in table.lines:
        names = [_no_formula(getattr(line, name)) for name in LINE_FIELDS]
        numbers: list[float | None] = []
        for cell in line.cells:
            interval = [cell.ci_low, cell.ci_high] if table.ci else []
            numbers += [cell.value, *interval]
        # a dash reads as text and would make the column one of strings
        counts = [count.replace("-", "") for count in line.counts]
        writer.writerow([*names, *numbers, *counts])
    return file.getvalue().rstrip("\n")


def _no_formula(text: str | None) -> str | None:
    """Return the text of a cell so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text and text.startswith(_FORMULA_STARTS) else text


def render_json(table: Leaderboard, options: RenderOptions) -> str:
    """Return a list of objects; `metrics` maps a name to its value and its n."""
    records = [_json_record(line, table.metrics) for line in table.lines]
    return json_text(records, options.encoding, indent=2)


def _json_record(line: LeaderboardLine, metrics: tuple[str, ...]) -> dict[str, Any]:
    return {
        **{name: getattr(line, name) for name in LINE_FIELDS},
        # 0 stands for a published dataset of unknown size
        "n": None if line.source and not line.n else line.n,
        "n_pos": line.n_pos,
        "n_failed": line.n_failed,
        **({"source": line.source} if line.source else {}),
        "metrics": {
            metric: {name: getattr(cell, name) for name in CELL_FIELDS}
            for metric, cell in zip(metrics, line.cells, strict=True)
        },
    }
