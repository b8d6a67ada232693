r"""Tables for papers: Markdown and LaTeX, best in bold and second best underlined.

Numbers that read the same are marked alike. In LaTeX the tables want booktabs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.console import DECIMALS
from safebench.number_format import format_metric, format_metric_interval
from safebench.reporters.footnotes import INTERVALS
from safebench.reporters.formats import escape_latex, escape_markdown
from safebench.sanitize import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.reporters.table import Cell, Leaderboard, LeaderboardLine

MARKS = (
    "bold: best of its column on a set; underlined: second best; {tie}: no significant "
    "difference to the best (paired test, Holm)"
)


def render_paper(table: Leaderboard, form: str, *, ci: bool = False) -> str:
    """Return the scores of every set, then the uncertainties, as ``md`` or ``latex``.

    With `ci`, 95 % intervals stand beside the numbers.
    """
    render = _latex if form == "latex" else _markdown
    parts = [
        render(block, name, lines, ci=ci)
        for block in table.blocks or (table,)
        for name, lines in block.sections
    ]
    notes = dict.fromkeys(
        note
        for block in table.blocks or (table,)
        for note in block.footnotes
        if ci or not note.startswith(INTERVALS)
    )
    return "\n\n".join([*parts, *_notes(list(notes), form)])


def _notes(notes: Sequence[str], form: str) -> Iterator[str]:
    if form == "latex":
        told = [MARKS.format(tie="sim"), *notes]
        yield "\n".join(f"% {printable(note)}" for note in told)
        return
    told = [MARKS.format(tie="~"), *notes]
    yield "\n".join(f"- {escape_markdown(printable(note))}" for note in told)


def second_best(
    lines: Sequence[LeaderboardLine], column: int, *, higher: bool | None
) -> str | None:
    """Return the second best number of a column as it is shown; None without one."""
    values = [line.cells[column].value for line in lines if line.ranked]
    shown = {round(value, DECIMALS) for value in values if value is not None}
    if higher is None or len(shown) < 2:  # noqa: PLR2004 - nothing comes second
        return None
    ordered = sorted(shown, reverse=higher)
    # one of two numbers is the other's loser: to underline it would say nothing
    return None if len(ordered) == 2 else f"{ordered[1]:.{DECIMALS}f}"  # noqa: PLR2004


def _seconds(block: Leaderboard, lines: Sequence[LeaderboardLine]) -> list[str | None]:
    return [
        second_best(lines, column, higher=higher)
        for column, higher in enumerate(block.higher_is_better)
    ]


def _is_second(line: LeaderboardLine, cell: Cell, second: str | None) -> bool:
    if second is None or cell.value is None or cell.best or not line.ranked:
        return False
    return f"{round(cell.value, DECIMALS):.{DECIMALS}f}" == second


def _caption(name: str, lines: Sequence[LeaderboardLine]) -> str:
    sizes = {(line.n, line.n_pos) for line in lines}
    if len(sizes) > 1:
        return name
    ((n, n_pos),) = sizes
    return f"{name}, n = {n:,}" + ("" if n_pos is None else f", {n_pos:,} positive")


def _names(line: LeaderboardLine) -> tuple[str, str]:
    more = f" (+{len(line.equal)})" if line.equal else ""
    return line.classifier, line.method + more


def _markdown(
    block: Leaderboard, name: str, lines: Sequence[LeaderboardLine], *, ci: bool
) -> str:
    headers = ["guard", "strategy", *(block.headers or block.metrics)]
    seconds = _seconds(block, lines)
    rows = [
        [*map(escape_markdown, _names(line))]
        + [
            _markdown_number(line, cell, metric, second, ci=ci)
            for cell, metric, second in zip(
                line.cells, block.metrics, seconds, strict=True
            )
        ]
        for line in lines
    ]
    rule = [":--", ":--", *["--:"] * len(block.metrics)]
    table = [[*map(escape_markdown, headers)], rule, *rows]
    text = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"**{escape_markdown(_caption(name, lines))}**\n\n{text}"


def _markdown_number(
    line: LeaderboardLine, cell: Cell, metric: str, second: str | None, *, ci: bool
) -> str:
    text = format_metric(cell.value, metric, DECIMALS)
    if cell.best:
        text = f"**{text}**"
    elif _is_second(line, cell, second):
        text = f"<ins>{text}</ins>"  # what GitHub and others underline
    text = ("~" if cell.ties_with_best else "") + text
    interval = _interval(cell, metric) if ci else ""
    return " ".join(filter(None, (text, escape_markdown(interval))))


def _interval(cell: Cell, metric: str) -> str:
    return format_metric_interval(cell.ci_low, cell.ci_high, metric, DECIMALS)


def _latex(
    block: Leaderboard, name: str, lines: Sequence[LeaderboardLine], *, ci: bool
) -> str:
    headers = ["guard", "strategy", *(block.headers or block.metrics)]
    seconds = _seconds(block, lines)
    body = []
    for line in lines:
        numbers = [
            _latex_number(line, cell, metric, second, ci=ci)
            for cell, metric, second in zip(
                line.cells, block.metrics, seconds, strict=True
            )
        ]
        names = [escape_latex(printable(text)) for text in _names(line)]
        # LaTeX takes a bracket after the \\ of the row before as an option of that \\
        names[0] = f"{{}}{names[0]}" if names[0].startswith("[") else names[0]
        body.append(" & ".join([*names, *numbers]) + r" \\")
    head = " & ".join(escape_latex(printable(text)) for text in headers) + r" \\"
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape_latex(printable(_caption(name, lines)))}}}",
            rf"\begin{{tabular}}{{ll{'r' * len(block.metrics)}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _latex_number(
    line: LeaderboardLine, cell: Cell, metric: str, second: str | None, *, ci: bool
) -> str:
    text = format_metric(cell.value, metric, DECIMALS, missing="--")
    if cell.best:
        text = rf"\textbf{{{text}}}"
    elif _is_second(line, cell, second):
        text = rf"\underline{{{text}}}"
    text = (r"$\sim$" if cell.ties_with_best else "") + text
    return " ".join(filter(None, (text, _interval(cell, metric) if ci else "")))
