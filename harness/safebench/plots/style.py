"""Style of all figures: sizes, titles, legends, and colours safe for colour blindness.

Colours are those of Okabe and Ito (2008). `INK`, `MUTED`, `GRID` and `PAPER` stand for
roles: the HTML report replaces them by its own, light or dark.
"""

from __future__ import annotations

from contextlib import contextmanager
from math import ceil
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

INK = "#1b1f24"
MUTED = "#6b7480"
GRID = "#d9dee4"
PAPER = "#ffffff"
BLUE = "#0072b2"
VERMILION = "#d55e00"
SERIES = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
MAX_CURVES = len(SERIES)  # that one figure can hold
# inches: matplotlib knows the width of a text only after drawing it
_LETTER_WIDTH, _HANDLE_WIDTH, _ROW_HEIGHT = 0.085, 0.6, 0.19  # of a legend
_SMALL_LETTER_WIDTH, _LABEL_WIDTH = 0.068, 0.9  # of a subtitle, and left of it


_RC_PARAMS: Any = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelsize": 10.5,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
}


@contextmanager
def plot_style() -> Iterator[None]:
    """Draw in this style inside the block, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC_PARAMS)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, whose parts do not overlap."""
    # no pyplot: its figures are global, and stay in memory until somebody closes them
    engine = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    return Figure(figsize=(width, height), layout=engine)


def line_style(position: int) -> dict[str, Any]:
    """Return colour and dashes of the curve at a position: distinct in grey, too."""
    return {
        "color": SERIES[position % MAX_CURVES],
        "linestyle": DASHES[position % len(DASHES)],
    }


def legend_below(figure: Figure, axes: Axes) -> None:
    """Put the legend of `axes` below everything, and make the figure taller by it."""
    handles, names = axes.get_legend_handles_labels()
    width, height = figure.get_size_inches()
    entry_width = max(map(len, names)) * _LETTER_WIDTH + _HANDLE_WIDTH
    columns = 2 if len(names) > 1 and 2 * entry_width < width else 1
    figure.set_size_inches(width, height + _ROW_HEIGHT * ceil(len(names) / columns))
    figure.legend(handles, names, loc="outside lower center", ncols=columns)


def unit_axis(axes: Axes, which: str = "xy") -> None:
    """Let an axis run from 0 to 1, with room for marks at the ends."""
    if "x" in which:
        axes.set_xlim(-0.015, 1.015)
    if "y" in which:
        axes.set_ylim(-0.015, 1.015)


def set_title(
    axes: Axes, title: str, subtitle: str, width: float | None = None
) -> None:
    """Set a title, and a subtitle in smaller lines below it.

    `width` is the room for these in inches; by default the figure's, without the room
    that labels take at the left.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    room = width or figure.get_size_inches()[0] - _LABEL_WIDTH
    lines = wrap(subtitle, int(room / _SMALL_LETTER_WIDTH), break_on_hyphens=False)

    axes.set_title(title, pad=12 + 12 * len(lines))
    axes.annotate(
        "\n".join(lines), (0, 1), xytext=(0, 6), xycoords="axes fraction",
        textcoords="offset points", fontsize=9, color=MUTED, va="bottom",
    )  # fmt: skip
