"""Figures of one classifier x strategy x dataset: reliability and uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .style import BLUE, INK, MUTED, PAPER, VERMILION, new_figure, set_title, unit_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from safebench.analysis.calibration import ReliabilityDiagram
    from safebench.analysis.uncertainty import ErrorDetection


def draw_reliability(diagram: ReliabilityDiagram, about: str) -> Figure:
    """Draw how often samples of each probability are positive, and how many they are.

    Bars are the 95 % intervals of the diagram: those of shares by groups.
    """
    figure = new_figure(5.2, 5.9)
    top, bottom = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    filled = diagram.count > 0
    predicted = diagram.mean_predicted[filled]
    observed = diagram.fraction_positive[filled]
    low, high = diagram.low[filled], diagram.high[filled]
    # matplotlib refuses lengths below 0, which rounding makes at shares of 0 and 1
    interval = np.maximum([observed - low, high - observed], 0)
    top.plot(
        [0, 1], [0, 1], color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=2
    )
    top.errorbar(
        predicted, observed, yerr=interval, fmt="o", color=BLUE, ecolor=BLUE,
        elinewidth=1.3, capsize=2.5, markersize=5.5, zorder=3,
    )  # fmt: skip
    top.text(
        0.02, 0.97,
        f"ECE {diagram.ece:.3f}\n(calibrated: {diagram.null_mean:.3f},\n"
        f"above {diagram.null_p95:.3f} in 5 %)\nBrier {diagram.brier:.3f}",
        transform=top.transAxes, va="top", fontsize=9, zorder=4,
        bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85,
              "pad": 2},
    )  # fmt: skip
    top.plot(predicted, observed, color=BLUE, linewidth=1, alpha=0.45, zorder=2.5)
    top.set_ylabel("share that is positive")
    set_title(top, "Calibration", about)
    unit_axis(top)
    edges = np.linspace(0, 1, len(diagram.count) + 1)
    bottom.bar(edges[:-1], diagram.count, width=np.diff(edges) * 0.94, align="edge",
               color=BLUE, alpha=0.75)  # fmt: skip
    bottom.set_xlabel("probability that the guard gives")
    bottom.set_ylabel("samples")
    bottom.grid(visible=False, axis="x")
    return figure


def draw_uncertainty(detection: ErrorDetection, source: str, about: str) -> Figure:
    """Draw the distribution of the uncertainty of right and of wrong decisions."""
    figure = new_figure(6.2, 3.7)
    axes = figure.subplots()
    edges = np.array(detection.edges)
    for name, distribution, colour in (
        ("right", detection.right, BLUE),
        ("wrong", detection.wrong, VERMILION),
    ):
        if not distribution.n:
            continue
        shares = np.array(distribution.counts) / distribution.n
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.28, zorder=2)
        axes.stairs(shares, edges, color=colour, linewidth=1.9, zorder=3,
                    linestyle="-" if name == "right" else (0, (5, 1.5)),
                    label=f"{name}: {distribution.n}")  # fmt: skip
        if distribution.quartiles is not None:
            median = np.clip(distribution.quartiles[1], edges[0], edges[-1])
            _draw_median(axes, float(median), colour)
    axes.plot([], [], "^", markersize=6, color=MUTED, label="medians")
    axes.set_ylim(0, None)
    axes.margins(x=0.01)
    axes.set_xlabel(f"uncertainty ({source})")
    axes.set_ylabel("share of decisions")
    axes.grid(visible=False, axis="x")
    auroc = "" if detection.auroc is None else f"error AUROC {detection.auroc:.3f}"
    if detection.low is not None and detection.high is not None:
        auroc += f" [{detection.low:.3f}, {detection.high:.3f}]"
    legend = axes.legend(title=auroc or detection.note, loc="best")
    legend.get_title().set_fontsize(9)
    legend.get_title().set_color(INK)
    legend.set_alignment("left")
    set_title(axes, "Uncertainty of right and wrong decisions", about)
    return figure


def _draw_median(axes: Axes, value: float, colour: str) -> None:
    """Mark a value on the x axis, half of the mark outside of the axes."""
    axes.plot(
        value,
        0,
        marker="^",
        markersize=9,
        color=colour,
        zorder=5,
        clip_on=False,
        transform=axes.get_xaxis_transform(),
    )
