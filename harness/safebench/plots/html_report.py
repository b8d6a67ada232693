"""The analysis as one self-contained HTML page: tables and figures, light and dark.

No script and no address to load from, so that a report can be mailed and kept; the
content security policy holds even if a prompt in it should get past the escaping.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

from safebench.analysis.tables import analysis_tables
from safebench.files import write_lines
from safebench.sanitize import sanitize

from .figures import draw_figures, omitted_figures_note
from .style import GRID, INK, MUTED, PAPER, SERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from safebench.analysis import RunAnalysis
    from safebench.analysis.text_table import TextTable

    from .figures import NamedFigure

_LIGHT = {"paper": PAPER, "ink": INK, "muted": "#57606a", "grid": GRID}
_DARK = {"paper": "#14181d", "ink": "#e6e9ed", "muted": "#9aa4b0", "grid": "#333b45"}
_DARK_SERIES = ("#4fb3e8", "#ff8a4c", "#3fcf9f", "#e39bc4", "#f2b84b", "#9fd6f5")
_ROLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    **{colour: f"c{number}" for number, colour in enumerate(SERIES)},
}
_ROLE_COLOUR = re.compile("|".join(_ROLES), re.IGNORECASE)
_IDS = re.compile(r' id="[\w.]+_[0-9]+"')  # of groups: nothing refers to them

_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
)
_CSS = """
:root { color-scheme: light dark; %(light)s }
@media (prefers-color-scheme: dark) { :root { %(dark)s } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem;
  background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.4rem;
  border-bottom: 1px solid var(--grid); overflow-wrap: anywhere }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem }
p, li { color: var(--muted); max-width: 48rem; margin: .2rem 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums;
  font-size: .9rem; margin: .3rem 0 .5rem }
th, td { text-align: right; padding: .22rem .7rem .22rem 0;
  border-bottom: 1px solid var(--grid); vertical-align: top }
th { font-weight: 600; border-bottom-color: var(--muted) }
.l { text-align: left; overflow-wrap: anywhere; max-width: 34rem;
  unicode-bidi: isolate }
.plots { display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%%, 26rem), 1fr)) }
figure { margin: 0 } figure.row { grid-column: 1 / -1 }
figure svg { width: 100%%; height: auto; max-height: 36rem }
"""


def write_html_report(analysis: RunAnalysis, path: Path) -> Path:
    """Write the page in one step, and return its path.

    It holds prompts only if the analysis does, that is, if they were asked for.
    """
    write_lines(path, render_html(analysis).split("\n"))
    return path


def render_html(analysis: RunAnalysis) -> str:
    """Return the whole page as HTML."""
    title = f"safebench analyze: {escape(sanitize(analysis.run))}"
    css = _CSS % {
        "light": _css_variables(_LIGHT, SERIES),
        "dark": _css_variables(_DARK, _DARK_SERIES),
    }
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        f'content="{_CONTENT_SECURITY_POLICY}">'
        f"<title>{title}</title><style>{css}</style></head><body>"
    )
    overview, *rest = analysis_tables(analysis)
    parts = [
        head,
        f"<h1>{title}</h1>",
        *_table_elements(overview),
        *_figure_elements(analysis),
    ]
    for table in rest:
        parts += _table_elements(table)
    return "\n".join([*parts, "</body></html>"])


def _css_variables(roles: dict[str, str], series: Iterable[str]) -> str:
    named = roles | {f"c{number}": colour for number, colour in enumerate(series)}
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())


def _figure_elements(analysis: RunAnalysis) -> Iterator[str]:
    yield '<h2>Plots</h2><div class="plots">'
    for number, drawn in enumerate(draw_figures(analysis)):
        wide = ' class="row"' if drawn.wide else ""
        yield f"<figure{wide}>{inline_svg(drawn, number)}</figure>"
    yield "</div>"
    note = omitted_figures_note(analysis)
    if note:
        yield f"<p>{escape(note)}</p>"


def inline_svg(drawn: NamedFigure, number: int) -> str:
    """Return a figure as an SVG element whose colours are those of the page.

    `number` is different for each figure of a page: matplotlib derives the ids of clip
    paths from it, and equal ids would clip one figure by the paths of another.
    """
    import matplotlib as mpl

    file = io.StringIO()
    mpl.rcParams["svg.hashsalt"] = f"safebench-{number}"
    # without a date, reports of one run are equal to the byte
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    drawn.figure.savefig(file, format="svg", facecolor="none", metadata=no_metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _IDS.sub("", text)
    text = _ROLE_COLOUR.sub(lambda match: f"var(--{_ROLES[match[0].lower()]})", text)
    label = f'<svg role="img" aria-label="{escape(drawn.alt)}" '
    return text.replace("<svg ", label, 1).strip()


def _table_elements(table: TextTable) -> Iterator[str]:
    level = table.level + 1
    yield f"<h{level}>{escape(table.title)}</h{level}>"
    if table.rows:
        yield '<div class="wide"><table><thead>'
        yield _table_row("th", table.headers, table.text_columns)
        yield "</thead><tbody>"
        yield from (_table_row("td", row, table.text_columns) for row in table.rows)
        yield "</tbody></table></div>"
    if table.notes:
        yield "".join(f"<p>{escape(note)}</p>" for note in table.notes)


def _table_row(tag: str, cells: Iterable[str], text_columns: int) -> str:
    """Return a row; names read from the left, whatever script a prompt is in."""
    elements = (
        f'<{tag} class="l" dir="ltr">{escape(cell)}</{tag}>'
        if position < text_columns
        else f"<{tag}>{escape(cell)}</{tag}>"
        for position, cell in enumerate(cells)
    )
    return f"<tr>{''.join(elements)}</tr>"
