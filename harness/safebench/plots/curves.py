"""Risk-coverage, ROC and precision-recall curves, several strategies in one figure."""

from __future__ import annotations

from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import metrics as sk

from safebench.metrics import metric_value

from .style import (
    MUTED,
    PAPER,
    legend_below,
    line_style,
    new_figure,
    set_title,
    unit_axis,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from safebench.analysis import CombinationAnalysis
    from safebench.typing import Array

_MIN_DECISIONS = 10  # with fewer, an error rate jumps between 0 and 1
_MIN_SHARE = 0.02
_SAME_ERROR_RATE = 0.005  # range of error rates that one best curve can stand for
_MAX_POINTS = 400
_GRID_POINTS = 101
_SUBTITLE_CHARACTERS = 120  # above two panels
_VISIBLE_DIFFERENCE = 0.012  # of two curves, about a line's width
_MAX_JOINED_NAMES = 2


def merge_indistinguishable(
    named: Sequence[tuple[str, CombinationAnalysis]],
    curve: Callable[[CombinationAnalysis], Array],
) -> list[tuple[str, CombinationAnalysis]]:
    """Keep one of those whose curves look the same, named together with the others.

    `curve` returns the values of a curve on a grid that all share.
    """
    distinct: list[tuple[Array, list[str], CombinationAnalysis]] = []
    for name, combination in named:
        values = curve(combination)
        for other, names, _ in distinct:
            if np.abs(other - values).max() < _VISIBLE_DIFFERENCE:
                names.append(name)
                break
        else:
            distinct.append((values, [name], combination))
    return [(_merged_name(names), combination) for _, names, combination in distinct]


def _merged_name(names: Sequence[str]) -> str:
    if len(names) <= _MAX_JOINED_NAMES:
        return " = ".join(names)
    return f"{names[0]} and {len(names) - 1} identical"


def risk_at_coverages(combination: CombinationAnalysis) -> Array:
    """Return the risk on a grid of coverages, for `merge_indistinguishable`."""
    curve = combination.risk_coverage
    assert curve is not None
    grid = np.linspace(0.05, 1, _GRID_POINTS)
    risk: Array = np.interp(grid, curve.coverage, curve.risk)
    return risk


def recall_at_fprs(combination: CombinationAnalysis) -> Array:
    """Return the recall on a grid of false positive rates, for merging."""
    predictions = combination.predictions
    scored = ~np.isnan(predictions.score)
    fpr, tpr, _ = sk.roc_curve(
        predictions.y[scored], _dense_ranks(predictions.score[scored])
    )
    recall: Array = np.interp(np.linspace(0, 1, _GRID_POINTS), fpr, tpr)
    return recall


def draw_risk_coverage(
    named: Sequence[tuple[str, CombinationAnalysis]], about: str
) -> Figure:
    """Draw the error rate among the most certain decisions against the share kept."""
    figure = new_figure(6.2, 3.9)
    axes = figure.subplots()
    top = 0.0
    error_rates = []
    for position, (name, combination) in enumerate(named):
        curve = combination.risk_coverage
        assert curve is not None, name
        rows = _curve_points(len(curve.risk))
        axes.plot(
            curve.coverage[rows],
            curve.risk[rows],
            label=f"{name}  (AURC {curve.aurc:.3f})",
            zorder=3,
            **line_style(position),
        )
        top = max(top, float(curve.risk[rows].max()))
        error_rates.append(float(curve.risk[-1]))
    if max(error_rates) - min(error_rates) < _SAME_ERROR_RATE:
        _draw_references(axes, named[0][1])
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, max(top, *error_rates) * 1.12 + 1e-3)
    axes.set_xlabel("coverage: share of decisions kept, most certain first")
    axes.set_ylabel("risk: share of them that are wrong")
    legend_below(figure, axes)
    set_title(axes, "Risk-coverage", about)
    return figure


def _curve_points(n: int) -> Array:
    """Return at most `_MAX_POINTS` positions, the first few decisions left out."""
    first = min(max(_MIN_DECISIONS, ceil(_MIN_SHARE * n)), n) - 1
    positions: Array = np.unique(
        np.linspace(first, n - 1, min(_MAX_POINTS, n - first)).astype(int)
    )
    return positions


def _draw_references(axes: Axes, combination: CombinationAnalysis) -> None:
    """Add the curves of the best possible uncertainty, and of a random one."""
    curve = combination.risk_coverage
    assert curve is not None
    error_rate = float(curve.risk[-1])
    coverage = np.linspace(0.005, 1, 200)
    best = np.maximum(coverage - (1 - error_rate), 0) / coverage
    axes.plot(coverage, best, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)),
              zorder=2, label="best possible")  # fmt: skip
    axes.axhline(error_rate, color=MUTED, linewidth=1.2, linestyle=(0, (1, 1.5)),
                 zorder=2, label="chosen at random")  # fmt: skip


def draw_roc_and_pr(
    named: Sequence[tuple[str, CombinationAnalysis]], about: str
) -> Figure:
    """Draw ROC and precision-recall curves, a ring where decisions are made."""
    figure = new_figure(8.6, 4.3)
    roc, pr = figure.subplots(1, 2)
    for position, (name, combination) in enumerate(named):
        _draw_roc_and_pr_curve(roc, pr, name, combination, position)
    prevalence = float(named[0][1].predictions.y.mean())
    roc.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)))
    pr.axhline(prevalence, color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)))
    roc.set_xlabel("false positive rate")
    roc.set_ylabel("true positive rate (recall)")
    pr.set_xlabel("recall")
    pr.set_ylabel("precision")
    roc.set_title("ROC")
    pr.set_title("Precision and recall")
    subtitle = f"{about}; rings: where decisions are made, dots: chance"
    figure.suptitle(
        fill(subtitle, _SUBTITLE_CHARACTERS),
        x=0.01,
        ha="left",
        fontsize=9,
        color=MUTED,
    )
    for axes in (roc, pr):
        unit_axis(axes)
        axes.set_aspect("equal")
    legend_below(figure, roc)
    return figure


def _draw_roc_and_pr_curve(
    roc: Axes, pr: Axes, name: str, combination: CombinationAnalysis, position: int
) -> None:
    predictions = combination.predictions
    scored = ~np.isnan(predictions.score)
    y, ranks = predictions.y[scored], _dense_ranks(predictions.score[scored])
    fpr, tpr, _ = sk.roc_curve(y, ranks)
    precision, recall, _ = sk.precision_recall_curve(y, ranks)
    auroc, auprc = metric_value("auroc", y, ranks), metric_value("auprc", y, ranks)
    style = line_style(position)
    label = f"{name}  (AUROC {auroc:.3f}, AUPRC {auprc:.3f})"
    roc.plot(fpr, tpr, label=label, zorder=3, **style)
    # without the point (recall 0, precision 1) that no threshold gives
    pr.step(recall[:-1], precision[:-1], where="post", zorder=3, **style)
    flagged = predictions.decision[scored] == 1
    tp, fp = int((flagged & y).sum()), int((flagged & ~y).sum())
    ring: dict[str, Any] = {
        "marker": "o", "linestyle": "none", "markersize": 8,
        "markerfacecolor": PAPER, "markeredgecolor": style["color"],
        "markeredgewidth": 2, "zorder": 4 + position / 10,
    }  # fmt: skip
    roc.plot(fp / max((~y).sum(), 1), tp / max(y.sum(), 1), **ring)
    if flagged.any():
        pr.plot(tp / max(y.sum(), 1), tp / flagged.sum(), **ring)


def _dense_ranks(score: Array) -> Array:
    """Return ranks with the order and ties of the scores.

    Curves depend on these alone, and scikit-learn refuses infinite scores.
    """
    return np.unique(score, return_inverse=True)[1]
