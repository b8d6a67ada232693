"""Quality against cost, one panel for each set of samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.errors import OptionError
from safebench.results.pareto import COSTS
from safebench.sanitize import sanitize

from .style import BLUE, MUTED, new_figure, plot_style, set_title

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from safebench.results.pareto import Pareto, ParetoFront

DPI = 160
SUFFIXES = (".png", ".svg")
MAX_PANELS = 8
_WIDTH, _HEIGHT = 7.0, 3.6  # inches of a panel
_WIDE = 20  # the ratio of costs from which an axis is logarithmic


def check_plot_path(path: Path) -> None:
    """Raise OptionError for a file that is neither PNG nor SVG."""
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"--plot {path}: a plot is written as .png or .svg")


def write_pareto(result: Pareto, path: Path) -> None:
    """Write the plot of all fronts into one file."""
    with plot_style():
        figure = draw_pareto(result)
        figure.savefig(path, dpi=DPI, format=path.suffix.lower().removeprefix("."))


def draw_pareto(result: Pareto) -> Figure:
    """Return the figure: cells with intervals, and the front as steps."""
    fronts = result.fronts[:MAX_PANELS]
    figure = new_figure(_WIDTH, _HEIGHT * len(fronts))
    axes = figure.subplots(len(fronts), 1, squeeze=False)[:, 0]
    for panel, front in zip(axes, fronts, strict=True):
        _draw_front(panel, front, result)
    return figure


def _draw_front(axes: Axes, front: ParetoFront, result: Pareto) -> None:
    name, less_is_better, _ = COSTS[result.cost]
    on_front = [cell for cell in front.cells if cell.dominated_by is None]
    costs = [cell.cost for cell in front.cells]
    middle = (min(costs) + max(costs)) / 2
    for number, cell in enumerate(front.cells):
        colour = MUTED if cell.dominated_by else BLUE
        if cell.ci_low is not None and cell.ci_high is not None:
            axes.plot(
                [cell.cost] * 2, [cell.ci_low, cell.ci_high], color=colour, linewidth=1
            )
        axes.plot(cell.cost, cell.value, "o", color=colour, markersize=5)
        axes.annotate(
            sanitize(f"{cell.classifier}/{cell.method}", 48),
            (cell.cost, cell.value),
            # names of neighbours: one above the next, and towards the middle
            xytext=(-5 if cell.cost > middle else 5, (4, -10)[number % 2]),
            textcoords="offset points",
            ha="right" if cell.cost > middle else "left",
            fontsize=8,
            color=colour,
        )
    # between two cells only the cheaper one can be had
    axes.plot(
        [cell.cost for cell in on_front],
        [cell.value for cell in on_front],
        drawstyle="steps-post" if less_is_better else "steps-pre",
        color=BLUE,
        linewidth=1.2,
        alpha=0.6,
    )
    if min(costs) > 0 and max(costs) > _WIDE * min(costs):
        axes.set_xscale("log")
    axes.margins(x=0.15, y=0.1)
    axes.set_xlabel(name)
    axes.set_ylabel(result.metric)
    device = f"; {front.device}" if front.device else ""
    set_title(
        axes,
        sanitize(f"{result.metric} against {name}"),
        sanitize(
            f"{front.dataset}: {front.n} samples{device}; blue: no other is cheaper "
            "and as good; lines: 95 % intervals"
        ),
    )
