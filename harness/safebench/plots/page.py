"""One self-contained HTML page: tables and pictures, light and dark, no script."""

from __future__ import annotations

import io
import re
from html import escape
from typing import TYPE_CHECKING

from safebench.analysis.sections import sections
from safebench.analysis.visible import visible
from safebench.files import write_lines

from .figures import figures, left_out
from .style import GRID, INK, MUTED, PAPER, SERIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from safebench.analysis import Analysis
    from safebench.analysis.section import Section

    from .figures import Drawn

_LIGHT = {"paper": PAPER, "ink": INK, "muted": "#57606a", "grid": GRID}
_DARK = {"paper": "#14181d", "ink": "#e6e9ed", "muted": "#9aa4b0", "grid": "#333b45"}
_DARK_SERIES = ("#4fb3e8", "#ff8a4c", "#3fcf9f", "#e39bc4", "#f2b84b", "#9fd6f5")
_ROLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    **{colour: f"c{place}" for place, colour in enumerate(SERIES)},
}
_COLOUR = re.compile("|".join(_ROLES), re.IGNORECASE)
_IDS = re.compile(r' id="[\w.]+_[0-9]+"')
_SAFETY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
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


def write_page(analysis: Analysis, path: Path) -> Path:
    """Write the page, in one step, and return its path.

    It holds prompts only if the analysis does, that is, if they were asked for.
    """
    write_lines(path, page(analysis).split("\n"))
    return path


def page(analysis: Analysis) -> str:
    """Return the whole page as HTML."""
    title = f"safebench analyze: {escape(visible(analysis.run))}"
    css = _CSS % {"light": _variables(_LIGHT, SERIES), "dark": _dark()}
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_SAFETY}">'
        f"<title>{title}</title><style>{css}</style></head><body>"
    )
    overview, *rest = sections(analysis)
    parts = [head, f"<h1>{title}</h1>", *_section(overview), *_plots(analysis)]
    for section in rest:
        parts += _section(section)
    return "\n".join([*parts, "</body></html>"])


def _variables(roles: dict[str, str], series: Iterable[str]) -> str:
    named = roles | {f"c{place}": colour for place, colour in enumerate(series)}
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())


def _dark() -> str:
    return _variables(_DARK, _DARK_SERIES)


def _plots(analysis: Analysis) -> Iterator[str]:
    yield '<h2>Plots</h2><div class="plots">'
    for place, drawn in enumerate(figures(analysis)):
        wide = ' class="row"' if drawn.wide else ""
        yield f"<figure{wide}>{svg(drawn, place)}</figure>"
    yield "</div>"
    note = left_out(analysis)
    if note:
        yield f"<p>{escape(note)}</p>"


def svg(drawn: Drawn, place: int) -> str:
    """Return a picture as an element whose colours are those of the page.

    `place` keeps the names inside it apart from those of other pictures.
    """
    import matplotlib as mpl

    file = io.StringIO()
    mpl.rcParams["svg.hashsalt"] = f"safebench-{place}"
    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    drawn.figure.savefig(file, format="svg", facecolor="none", metadata=none)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _IDS.sub("", text)
    text = _COLOUR.sub(lambda found: f"var(--{_ROLES[found[0].lower()]})", text)
    label = f'<svg role="img" aria-label="{escape(drawn.alt)}" '
    return text.replace("<svg ", label, 1).strip()


def _section(section: Section) -> Iterator[str]:
    level = section.level + 1
    yield f"<h{level}>{escape(section.title)}</h{level}>"
    if section.rows:
        yield '<div class="wide"><table><thead>'
        yield _row("th", section.headers, section.left)
        yield "</thead><tbody>"
        yield from (_row("td", row, section.left) for row in section.rows)
        yield "</tbody></table></div>"
    if section.notes:
        yield "".join(f"<p>{escape(note)}</p>" for note in section.notes)


def _row(tag: str, cells: Iterable[str], left: int) -> str:
    drawn = (
        f'<{tag} class="l" dir="ltr">{escape(cell)}</{tag}>'
        if place < left
        else f"<{tag}>{escape(cell)}</{tag}>"
        for place, cell in enumerate(cells)
    )
    return f"<tr>{''.join(drawn)}</tr>"
