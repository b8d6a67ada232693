"""The leaderboard of a report: scores by set, uncertainties, and every line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.number_format import format_metric, format_metric_interval

from .html import Html, details, identifier, join, notes, scrolling, tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.reporters.table import Cell, Leaderboard, LeaderboardLine

DECIMALS = 3
MARKS = "bold and *: best of its column on a set"


def score_sections(table: Leaderboard) -> Iterator[tuple[str, str, Html]]:
    """Yield id, title and content of each part: scores by set, then uncertainties."""
    blocks = table.blocks or (table,)
    for block in blocks:
        for name, lines in block.sections:
            yield identifier("scores", name), name, set_table(block, name, lines)


def score_notes(table: Leaderboard) -> Html:
    """Return what must be known beside the numbers, and the lines without folding."""
    blocks = table.blocks or (table,)
    lines = [MARKS, *(note for block in blocks for note in block.footnotes)]
    content = [notes(dict.fromkeys(lines))]
    n_shown = len(blocks[0].lines)
    if n_shown < len(table.lines):
        every = [set_table(table, name, lines) for name, lines in table.sections]
        content.append(
            details(
                f"All {len(table.lines)} lines, also those with equal numbers",
                *every,
                id_="scores-all",
            )
        )
    return join(content)


def set_table(table: Leaderboard, name: str, lines: Sequence[LeaderboardLine]) -> Html:
    """Return the table of one set: best first, intervals below numbers."""
    headers = table.headers or table.metrics
    head = [
        tag("th", "guard and strategy", scope="col"),
        *(tag("th", header, class_="num", scope="col") for header in headers),
        tag("th", "n", class_="num", scope="col"),
    ]
    body = [_row(line, table) for line in lines]
    drawn = tag(
        "table",
        tag("thead", tag("tr", *head)),
        tag("tbody", *body),
        class_="scores",
    )
    # no caption: it would be as wide as the table, and scroll away with it
    return join([tag("h3", name + _size(lines)), scrolling(name, drawn)])


def _size(lines: Sequence[LeaderboardLine]) -> str:
    sizes = {(line.n, line.n_pos) for line in lines}
    if len(sizes) > 1:
        return ""
    ((n, n_pos),) = sizes
    return f", n = {n:,}" + ("" if n_pos is None else f", {n_pos:,} positive")


def _row(line: LeaderboardLine, table: Leaderboard) -> Html:
    rank = f"{line.rank}. " if line.rank else ""
    strategy = [line.method]
    if line.equal:
        strategy.append(f" (+{len(line.equal)} equal)")
    names = tag(
        "th",
        tag("bdi", rank + line.classifier),
        tag("small", tag("bdi", "".join(strategy))),
        scope="row",
    )
    cells = [
        _cell(cell, metric)
        for cell, metric in zip(line.cells, table.metrics, strict=True)
    ]
    count: list[str] = [line.counts[0]]
    if line.n_failed:
        count.append(tag("small", f"{line.n_failed} failed"))
    return tag("tr", names, *cells, tag("td", *count, class_="num"))


def _cell(cell: Cell, metric: str) -> Html:
    text = format_metric(cell.value, metric, DECIMALS)
    tie = "~" if cell.ties_with_best else ""
    number: str = tie + text
    if cell.best:
        number = tag("span", f"{text}*", class_="best")
    interval = format_metric_interval(cell.ci_low, cell.ci_high, metric, DECIMALS)
    small = [tag("small", interval)] if interval else []
    return tag("td", number, *small, class_="num", title=cell.note or None)
