"""The leaderboard as one HTML page that needs no other file and no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from safebench.number_format import format_metric, format_metric_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.console import RenderOptions

    from .table import Cell, Leaderboard, LeaderboardLine

# Colours of text have a contrast of 7 or more on their ground, in light and in dark.
_STYLE = """\
:root{color-scheme:light dark;--fg:#1b1b1b;--bg:#fff;--soft:#4a4a4a;--line:#c8c8c8}
@media(prefers-color-scheme:dark){
:root{--fg:#ececec;--bg:#151515;--soft:#b8b8b8;--line:#4a4a4a}}
body{font:1rem/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);
margin:0 auto;padding:1rem;max-width:75rem}
h1{font-size:1.3rem}
.scroll{overflow-x:auto;margin:0 0 1.5rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3rem 0;overflow-wrap:anywhere}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;
vertical-align:top}
th:nth-child(-n+3),td:nth-child(2),td:nth-child(3){text-align:left}
td small{display:block;color:var(--soft);white-space:nowrap}
li{color:var(--soft);overflow-wrap:anywhere}
@media print{.scroll{overflow:visible}}"""
# Names come from files of others: even if one got past the escaping, the page would
# run no script and fetch nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def render_html(table: Leaderboard, options: RenderOptions) -> str:
    """Return the page: a table a dataset with every line, then the footnotes.

    The best number of a column is bold and has a ``*``; intervals stand below numbers.
    """
    heading = "Leaderboard" + (f" {table.title}" if table.title else "")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(heading)}</title>",
            f"<style>\n{_STYLE}\n</style>",
            "</head>",
            "<body>",
            f"<h1>{escape(heading)}</h1>",
            *_sections(table, options),
            *_notes(table),
            "</body>",
            "</html>",
        ]
    )


def _sections(table: Leaderboard, options: RenderOptions) -> Iterator[str]:
    headers = ["classifier", "model", "strategy", *(table.headers or table.metrics)]
    cells = "".join(
        f'<th scope="col">{escape(name)}</th>' for name in [*headers, "n", "failed"]
    )
    for name, lines in table.sections:
        # A region that scrolls must be reached by the keyboard, and have a name.
        label = escape(name, quote=True)
        yield f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
        yield f"<table>\n<caption>{escape(name)}</caption>"
        yield f"<thead><tr>{cells}</tr></thead>\n<tbody>"
        yield from (_row(line, table, options) for line in lines)
        yield "</tbody>\n</table>\n</div>"


def _row(line: LeaderboardLine, table: Leaderboard, options: RenderOptions) -> str:
    names = (line.model, line.method)
    numbers = [
        _number(cell, metric, options, ci=table.ci)
        for cell, metric in zip(line.cells, table.metrics, strict=True)
    ]
    texts = [*(escape(name) for name in names), *numbers, *line.counts]
    first = f'<th scope="row">{escape(line.classifier)}</th>'
    return f"<tr>{first}{''.join(f'<td>{text}</td>' for text in texts)}</tr>"


def _number(cell: Cell, metric: str, options: RenderOptions, *, ci: bool) -> str:
    text = escape(format_metric(cell.value, metric, options.decimals))
    text = f"<b>{text}*</b>" if cell.best else text
    if not ci:
        return text
    tie = "~" if cell.ties_with_best else ""
    interval = format_metric_interval(
        cell.ci_low, cell.ci_high, metric, options.decimals
    )
    return tie + text + (f"<small>{escape(interval)}</small>" if interval else "")


def _notes(table: Leaderboard) -> Sequence[str]:
    best = any(cell.best for line in table.lines for cell in line.cells)
    notes = [*(["* best of its column on a dataset"] if best else []), *table.footnotes]
    items = [f"<li>{escape(note)}</li>" for note in notes]
    return ["<ul>", *items, "</ul>"] if items else []
