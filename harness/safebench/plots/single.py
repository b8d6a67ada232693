"""Pictures of one classifier x strategy x dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .style import BLUE, INK, MUTED, PAPER, VERMILION, new_figure, share_axis, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from safebench.analysis.calibration import Calibration
    from safebench.analysis.detection import Detection


def reliability(found: Calibration, about: str) -> Figure:
    """Draw how often samples of each probability are positive, and how many they are.

    Bars are Wilson's 95 % intervals.
    """
    figure = new_figure(5.2, 5.9)
    top, bottom = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    kept = found.count > 0
    said, seen = found.said[kept], found.seen[kept]
    spread = np.maximum([seen - found.low[kept], found.high[kept] - seen], 0)
    top.plot(
        [0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=2
    )
    top.errorbar(
        said, seen, yerr=spread, fmt="o", color=BLUE, ecolor=BLUE, elinewidth=1.3,
        capsize=2.5, markersize=5.5, zorder=3,
    )  # fmt: skip
    top.text(
        0.02, 0.97,
        f"ECE {found.ece:.3f}\n(perfect: {found.null_mean:.3f}, 95 % below "
        f"{found.null_p95:.3f})\nBrier {found.brier:.3f}",
        transform=top.transAxes, va="top", fontsize=9, zorder=4,
        bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85,
              "pad": 2},
    )  # fmt: skip
    top.plot(said, seen, color=BLUE, linewidth=1, alpha=0.45, zorder=2.5)
    top.set_ylabel("share that is positive")
    titled(top, "Calibration", about)
    share_axis(top)
    edges = np.linspace(0, 1, len(found.count) + 1)
    bottom.bar(edges[:-1], found.count, width=np.diff(edges) * 0.94, align="edge",
               color=BLUE, alpha=0.75)  # fmt: skip
    bottom.set_xlabel("probability that the guard gives")
    bottom.set_ylabel("samples")
    bottom.grid(visible=False, axis="x")
    return figure


def uncertainty(found: Detection, source: str, about: str) -> Figure:
    """Draw how the uncertainty of right and of wrong decisions is spread."""
    figure = new_figure(6.2, 3.7)
    axes = figure.subplots()
    edges = np.array(found.edges)
    spreads = (("right", found.right, BLUE), ("wrong", found.wrong, VERMILION))
    for name, spread, colour in spreads:
        if not spread.n:
            continue
        shares = np.array(spread.counts) / spread.n
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.28, zorder=2)
        axes.stairs(shares, edges, color=colour, linewidth=1.9, zorder=3,
                    linestyle="-" if name == "right" else (0, (5, 1.5)),
                    label=f"{name}: {spread.n}")  # fmt: skip
        if spread.quartiles is not None:
            _median(axes, min(max(spread.quartiles[1], edges[0]), edges[-1]), colour)
    axes.plot([], [], "^", markersize=6, color=MUTED, label="medians")
    axes.set_ylim(0, None)
    axes.margins(x=0.01)
    axes.set_xlabel(f"uncertainty ({source})")
    axes.set_ylabel("share of decisions")
    axes.grid(visible=False, axis="x")
    area = "" if found.auroc is None else f"error AUROC {found.auroc:.3f}"
    if found.low is not None and found.high is not None:
        area += f" [{found.low:.3f}, {found.high:.3f}]"
    legend = axes.legend(title=area or found.note, loc="best")
    legend.get_title().set_fontsize(9)
    legend.get_title().set_color(INK)
    legend.set_alignment("left")
    titled(axes, "Does it know when it is wrong?", about)
    return figure


def _median(axes: Axes, place: float, colour: str) -> None:
    axes.plot(
        place,
        0,
        marker="^",
        markersize=9,
        color=colour,
        zorder=5,
        clip_on=False,
        transform=axes.get_xaxis_transform(),
    )
