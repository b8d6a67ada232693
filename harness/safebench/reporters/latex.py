"""The leaderboard as a LaTeX tabular in the style of booktabs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .text import interval, shown

if TYPE_CHECKING:
    from .table import Cell, Line, Table, View

_NAMES = ("classifier", "model", "strategy")
_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{char: f"\\{char}" for char in "&%$#_{}"},
    }
)


def render(table: Table, view: View) -> str:
    r"""Return a tabular, one block a dataset; the footnotes are comments above it."""
    headers = [*_NAMES, *table.metrics, "n", "failed"]
    align = "l" * len(_NAMES) + "r" * (len(headers) - len(_NAMES))
    notes = filter(None, (table.title, *table.footnotes))
    lines = [
        *(f"% {note}" for note in notes),
        rf"\begin{{tabular}}{{{align}}}",
        r"\toprule",
        _row([header.translate(_SPECIAL) for header in headers]),
    ]
    for name, section in table.sections:
        title = rf"\textit{{{name.translate(_SPECIAL)}}}"
        lines += [
            r"\midrule",
            _row([rf"\multicolumn{{{len(headers)}}}{{l}}{{{title}}}"]),
        ]
        lines += [_row(_cells(line, table, view)) for line in section]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _cells(line: Line, table: Table, view: View) -> list[str]:
    names = (line.classifier, line.model, line.method)
    values = [
        _number(cell, metric, view, ci=table.ci)
        for cell, metric in zip(line.cells, table.metrics, strict=True)
    ]
    escaped = [name.translate(_SPECIAL) for name in names]
    return [*escaped, *values, *line.counts]


def _number(cell: Cell, metric: str, view: View, *, ci: bool) -> str:
    text = shown(cell.value, metric, view.decimals, missing="--")
    text = rf"\textbf{{{text}}}" if cell.best else text
    if not ci:
        return text
    near = r"$\sim$" if cell.near_best else ""
    ends = interval(cell.ci_low, cell.ci_high, metric, view.decimals)
    return " ".join(filter(None, (near + text, ends)))


def _row(cells: list[str]) -> str:
    text = " & ".join(cells)
    guard = "{}" if text.startswith("[") else ""  # else an option of the row before
    return rf"{guard}{text} \\"
