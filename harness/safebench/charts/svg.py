"""A small writer of line charts as SVG.

A chart is data: axes, series and guides. `draw` maps it to a drawing of fixed size,
which scales with its column. Classes name roles (`chart.css`), so that the page decides
on colours; no element has a style of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from math import floor, isfinite, log10
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from safebench.sanitize import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safebench.typing import Array

MAX_SERIES = 6  # colours, dashes and marks that can be told apart
WIDTH, PLOT_HEIGHT = 400.0, 250.0
_LEFT, _RIGHT, _TOP, _BELOW = 46.0, 10.0, 8.0, 42.0
_ROW = 17.0  # of the legend
_SAMPLE = 30.0  # the piece of line that a row of the legend begins with
_CHARACTER = 6.3  # mean width of one at 12 px
_CLOSE = 1.0  # points nearer than that to the last one are not drawn
_MARK = 4.5
_MAX_LEGEND = int((WIDTH - _SAMPLE - 8) / _CHARACTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis from `low` to `high`, with a label."""

    label: str
    low: float = 0.0
    high: float = 1.0
    whole: bool = False  # counts

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(f"no axis: {self.low} to {self.high}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One curve `x`, `y` (k,), drawn in the style of its `position`.

    `name` and `numbers` stand in the legend. `step` is ``post`` if y holds until the
    next x, ``pre`` if it holds from the last one. `marks` are points (x, y) with a
    mark, `bars` are intervals (x, low, high) drawn upright and `flat_bars` (low, high,
    y) level. `kind` is ``curve``, ``fill`` (down to 0) or ``dots``.
    """

    name: str
    position: int
    x: Array
    y: Array
    numbers: str = ""
    step: str = ""
    kind: str = "curve"
    marks: Sequence[tuple[float, float]] = ()
    bars: Sequence[tuple[float, float, float]] = ()
    flat_bars: Sequence[tuple[float, float, float]] = ()

    @property
    def style(self) -> int:
        """Its number among colours, dashes and marks."""
        return self.position % MAX_SERIES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guide:
    """A dotted line `x`, `y` (k,) to compare with; a `name` stands in the legend."""

    x: Array
    y: Array
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chart:
    """A chart: `alt` says in words what it shows."""

    alt: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    guides: Sequence[Guide] = field(default=())


def chart_css() -> str:
    """Return the style sheet of charts; a page gives --ink, --dim, --line, --back."""
    return Path(__file__).with_name("chart.css").read_text(encoding="utf-8")


def draw(chart: Chart) -> str:
    """Return the chart as one SVG element."""
    entries: list[Series | Guide] = [*chart.series]
    entries += [guide for guide in chart.guides if guide.name]
    bottom = _TOP + PLOT_HEIGHT
    height = bottom + _BELOW + _ROW * len(entries) + 4
    place = _Place(chart.x, chart.y)
    # nobody reads an order of drawing from 1 to n: the first series lies on top
    series = [piece for s in reversed(chart.series) for piece in _series(s, place)]
    parts = [
        f'<svg role="img" viewBox="0 0 {WIDTH:.0f} {height:.0f}">',
        f"<title>{_text(chart.alt)}</title>",
        *_axes(chart, place),
        *(f'<path class="guide" d="{place.path(g.x, g.y)}"/>' for g in chart.guides),
        *series,
        *_legend(entries, bottom + _BELOW),
        "</svg>",
    ]
    return "".join(parts)


class _Place:
    """Where values of both axes lie in the drawing."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y

    def x(self, value: float) -> float:
        share = (value - self._x.low) / (self._x.high - self._x.low)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(max(share, 0.0), 1.0)

    def y(self, value: float) -> float:
        share = (value - self._y.low) / (self._y.high - self._y.low)
        return _TOP + PLOT_HEIGHT * (1 - min(max(share, 0.0), 1.0))

    def path(self, x: Array, y: Array, step: str = "") -> str:
        """Return the path through points; those closer than a pixel are left out."""
        points = [(self.x(a), self.y(b)) for a, b in zip(x, y, strict=True)]
        kept = _thinned(points)
        if not kept:
            return ""
        form = {"": "L{0} {1}", "post": "H{0}V{1}", "pre": "V{1}H{0}"}[step]
        first, *rest = [(_short(a), _short(b)) for a, b in kept]
        return f"M{first[0]} {first[1]}" + "".join(
            form.format(*point) for point in rest
        )


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points without those that nobody sees; the last one stays."""
    kept: list[tuple[float, float]] = []
    for point in points:
        if not kept or max(
            abs(point[0] - kept[-1][0]), abs(point[1] - kept[-1][1])
        ) >= (_CLOSE):
            kept.append(point)
    if points and kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    return escape(sanitize(text), quote=False)


def _axes(chart: Chart, place: _Place) -> Iterator[str]:
    bottom, right = _TOP + PLOT_HEIGHT, WIDTH - _RIGHT
    for value, name in ticks(chart.y):
        y = _short(place.y(value))
        yield f'<path class="grid" d="M{_LEFT:.0f} {y}H{right:.0f}"/>'
        yield f'<text class="tick end" x="{_LEFT - 6:.0f}" y="{y}" dy="4">{name}</text>'
    for value, name in ticks(chart.x):
        x = _short(place.x(value))
        yield f'<path class="grid" d="M{x} {_TOP:.0f}V{bottom:.0f}"/>'
        yield f'<text class="tick middle" x="{x}" y="{bottom + 15:.0f}">{name}</text>'
    yield f'<path class="axis" d="M{_LEFT:.0f} {_TOP:.0f}V{bottom:.0f}H{right:.0f}"/>'
    middle = (_LEFT + right) / 2
    yield (
        f'<text class="middle" x="{middle:.0f}" y="{bottom + 32:.0f}">'
        f"{_text(chart.x.label)}</text>"
    )
    half = _TOP + PLOT_HEIGHT / 2
    yield (
        f'<text class="middle" transform="translate(11 {half:.0f}) rotate(-90)">'
        f"{_text(chart.y.label)}</text>"
    )


def ticks(axis: Axis, most: int = 5) -> list[tuple[float, str]]:
    """Return round values along an axis, at most so many steps, each as text."""
    raw = (axis.high - axis.low) / most
    power = 10.0 ** floor(log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    if axis.whole:
        step = max(step, 1.0)
    first = np.ceil(axis.low / step - 1e-9)
    values = (first + np.arange(most + 2)) * step
    shown = [float(v) for v in values if v <= axis.high + 1e-9 * step]
    decimals = max(0, -floor(log10(step) + 1e-9))
    if round(step, decimals) != step:  # 0.25 has one decimal more than 0.2
        decimals += 1
    return [(value, _tick_text(value, decimals)) for value in shown]


def _tick_text(value: float, decimals: int) -> str:
    if decimals > 4 or abs(value) >= 1e6:  # noqa: PLR2004 - digits that fit
        return f"{value:.2g}"
    return f"{value + 0.0:.{decimals}f}"


def _series(series: Series, place: _Place) -> Iterator[str]:
    style = series.style
    if series.kind == "dots":
        yield _dots(series, place)
        return
    path = place.path(series.x, series.y, series.step)
    if series.kind == "fill" and path:
        base = _short(place.y(0))
        ends = _short(place.x(series.x[-1])), _short(place.x(series.x[0]))
        yield f'<path class="fill f{style}" d="{path}L{ends[0]} {base}H{ends[1]}Z"/>'
    for x, low, high in series.bars:
        yield (
            f'<path class="thin s{style}" d="M{_short(place.x(x))} '
            f'{_short(place.y(low))}V{_short(place.y(high))}"/>'
        )
    for low, high, y in series.flat_bars:
        yield (
            f'<path class="thin s{style}" d="M{_short(place.x(low))} '
            f'{_short(place.y(y))}H{_short(place.x(high))}"/>'
        )
    if path:
        yield f'<path class="curve s{style} d{style}" d="{path}"/>'
    yield from (_mark(style, place.x(x), place.y(y)) for x, y in series.marks)


def _dots(series: Series, place: _Place) -> str:
    """Return all dots in one path: round ends of lines without length, or diamonds."""
    where = [
        (_short(place.x(a)), _short(place.y(b)))
        for a, b in zip(series.x, series.y, strict=True)
    ]
    if series.style == 0:
        d = "".join(f"M{x} {y}h0" for x, y in where)
        return f'<path class="dots s0" d="{d}"/>'
    d = "".join(f"M{x} {y}m-3 0l3 -3l3 3l-3 3z" for x, y in where)
    return f'<path class="diamonds s{series.style}" d="{d}"/>'


def _mark(style: int, x: float, y: float) -> str:
    """Return the mark of a style: ring, square, triangles, diamond, star."""
    r = _MARK
    if style == 0:
        return f'<circle class="mark s0" cx="{_short(x)}" cy="{_short(y)}" r="{r}"/>'
    shape = {
        1: f"m-{r} -{r}h{2 * r}v{2 * r}h-{2 * r}z",
        2: f"m0 -{r + 1}l{r + 1} {2 * r}h-{2 * r + 2}z",
        3: f"m0 -{r + 1.5}l{r + 1.5} {r + 1.5}l-{r + 1.5} {r + 1.5}"
        f"l-{r + 1.5} -{r + 1.5}z",
        4: f"m0 {r + 1}l{r + 1} -{2 * r}h-{2 * r + 2}z",
        5: f"m-{r} -{r}l{2 * r} {2 * r}m0 -{2 * r}l-{2 * r} {2 * r}",
    }[style]
    return f'<path class="mark s{style}" d="M{_short(x)} {_short(y)}{shape}"/>'


def _legend(entries: Iterable[Series | Guide], top: float) -> Iterator[str]:
    for row, entry in enumerate(entries):
        y = top + _ROW * row + 8
        numbers = ""
        if isinstance(entry, Guide):
            yield f'<path class="guide" d="M4 {y:.0f}H{_SAMPLE - 4:.0f}"/>'
        else:
            yield _sample(entry, y)
            numbers = entry.numbers
        name = shortened(entry.name, _MAX_LEGEND - len(numbers) - 2)
        yield f'<text x="{_SAMPLE + 4:.0f}" y="{y + 4:.0f}">{_text(name)}</text>'
        if numbers:
            x = f"{WIDTH - _RIGHT:.0f}"
            yield f'<text class="end" x="{x}" y="{y + 4:.0f}">{_text(numbers)}</text>'


def _sample(series: Series, y: float) -> str:
    style, middle = series.style, _SAMPLE / 2
    if series.kind == "dots":
        shape = "h0" if style == 0 else "m-3 0l3 -3l3 3l-3 3z"
        kind = "dots" if style == 0 else "diamonds"
        return f'<path class="{kind} s{style}" d="M{middle:.0f} {y:.0f}{shape}"/>'
    line = f'<path class="curve s{style} d{style}" d="M2 {y:.0f}H{_SAMPLE - 2:.0f}"/>'
    return line + (_mark(style, middle, y) if series.marks else "")


def shortened(name: str, room: int) -> str:
    """Return a name of at most so many characters, its middle cut out."""
    shown = sanitize(name)
    if len(shown) <= room:
        return shown
    head = max((room - 1) // 2, 4)
    return f"{shown[:head]}…{shown[-max(room - 1 - head, 4) :]}"
