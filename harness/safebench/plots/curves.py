"""Curves over all thresholds or shares kept, several strategies in one picture."""

from __future__ import annotations

from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import metrics as sk

from .style import MUTED, PAPER, legend_below, line_of, new_figure, share_axis, titled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from safebench.analysis import Combination

    Array = np.ndarray[Any, np.dtype[Any]]

_FIRST = 10  # decisions: fewer make a curve jump between 0 and 1
_FIRST_SHARE = 0.02
_ALIKE = 0.005  # error rates that one best curve can stand for
_POINTS = 400
_PLACES = 101
_WIDE = 120  # characters above two panels
_APART = 0.012  # difference of two curves that a reader can see


def merged(
    found: Sequence[tuple[str, Combination]], curve: Callable[[Combination], Array]
) -> list[tuple[str, Combination]]:
    """Return one of those whose curves no eye could tell apart, named with the others.

    `curve` samples a curve at places that are the same for all.
    """
    kept: list[tuple[Array, list[str], Combination]] = []
    for name, combination in found:
        drawn = curve(combination)
        for other, names, _ in kept:
            if np.abs(other - drawn).max() < _APART:
                names.append(name)
                break
        else:
            kept.append((drawn, [name], combination))
    return [(_together(names), combination) for _, names, combination in kept]


def _together(names: Sequence[str]) -> str:
    if len(names) <= 2:  # noqa: PLR2004 - two names fit
        return " = ".join(names)
    return f"{names[0]} and {len(names) - 1} alike"


def risk_at_shares(combination: Combination) -> Array:
    """Return the risk at even shares kept, for `merged`."""
    curve = combination.selective
    assert curve is not None
    shares = np.linspace(0.05, 1, _PLACES)
    found: Array = np.interp(shares, curve.coverage, curve.risk)
    return found


def recall_at_alarms(combination: Combination) -> Array:
    """Return the recall at even false positive rates, for `merged`."""
    predictions = combination.predictions
    kept = ~np.isnan(predictions.score)
    fpr, tpr, _ = sk.roc_curve(predictions.y[kept], _ranks(predictions.score[kept]))
    found: Array = np.interp(np.linspace(0, 1, _PLACES), fpr, tpr)
    return found


def risk_coverage(found: Sequence[tuple[str, Combination]], about: str) -> Figure:
    """Draw the error rate among the surest decisions against the share kept."""
    figure = new_figure(6.2, 3.9)
    axes = figure.subplots()
    top = 0.0
    rates = []
    for place, (name, combination) in enumerate(found):
        curve = combination.selective
        assert curve is not None, name
        rows = _thinned(len(curve.risk))
        axes.plot(
            curve.coverage[rows],
            curve.risk[rows],
            label=f"{name}  (AURC {curve.aurc:.3f})",
            zorder=3,
            **line_of(place),
        )
        top = max(top, float(curve.risk[rows].max()))
        rates.append(float(curve.risk[-1]))
    if max(rates) - min(rates) < _ALIKE:
        _optimal(axes, found[0][1])
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, max(top, *rates) * 1.12 + 1e-3)
    axes.set_xlabel("share of decisions kept, surest first")
    axes.set_ylabel("share of them that are wrong")
    legend_below(figure, axes)
    titled(axes, "Fewer decisions, fewer errors?", about)
    return figure


def _thinned(n: int) -> Array:
    """Return at most `_POINTS` places, the first few decisions left out."""
    first = min(max(_FIRST, ceil(_FIRST_SHARE * n)), n) - 1
    places: Array = np.unique(
        np.linspace(first, n - 1, min(_POINTS, n - first)).astype(int)
    )
    return places


def _optimal(axes: Axes, combination: Combination) -> None:
    """Add what an uncertainty that finds every error would give, and none at all."""
    curve = combination.selective
    assert curve is not None
    rate = float(curve.risk[-1])
    kept = np.linspace(0.005, 1, 200)
    best = np.maximum(kept - (1 - rate), 0) / kept
    axes.plot(kept, best, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=2,
              label="best possible")  # fmt: skip
    axes.axhline(rate, color=MUTED, linewidth=1.2, linestyle=(0, (1, 1.5)), zorder=2,
                 label="chosen at random")  # fmt: skip


def operating(found: Sequence[tuple[str, Combination]], about: str) -> Figure:
    """Draw ROC and precision-recall curves, a ring where decisions are made."""
    figure = new_figure(8.6, 4.3)
    roc, pr = figure.subplots(1, 2)
    for place, (name, combination) in enumerate(found):
        _both(roc, pr, name, combination, place)
    prevalence = float(found[0][1].predictions.y.mean())
    roc.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)))
    pr.axhline(prevalence, color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)))
    roc.set_xlabel("false positive rate")
    roc.set_ylabel("true positive rate (recall)")
    pr.set_xlabel("recall")
    pr.set_ylabel("precision")
    roc.set_title("ROC")
    pr.set_title("Precision and recall")
    figure.suptitle(
        fill(f"{about}; rings: where decisions are made, dots: chance", _WIDE),
        x=0.01, ha="left", fontsize=9, color=MUTED,
    )  # fmt: skip
    for axes in (roc, pr):
        share_axis(axes)
        axes.set_aspect("equal")
    legend_below(figure, roc)
    return figure


def _both(roc: Axes, pr: Axes, name: str, combination: Combination, place: int) -> None:
    predictions = combination.predictions
    kept = ~np.isnan(predictions.score)
    y, ranks = predictions.y[kept], _ranks(predictions.score[kept])
    fpr, tpr, _ = sk.roc_curve(y, ranks)
    precision, recall, _ = sk.precision_recall_curve(y, ranks)
    area, mean = sk.roc_auc_score(y, ranks), sk.average_precision_score(y, ranks)
    style = line_of(place)
    label = f"{name}  (AUROC {area:.3f}, AP {mean:.3f})"
    roc.plot(fpr, tpr, label=label, zorder=3, **style)
    # without the point (recall 0, precision 1) that no threshold gives
    pr.step(recall[:-1], precision[:-1], where="post", zorder=3, **style)
    flagged = predictions.decision[kept] == 1
    hits, alarms = int((flagged & y).sum()), int((flagged & ~y).sum())
    ring: dict[str, Any] = {
        "marker": "o", "linestyle": "none", "markersize": 8,
        "markerfacecolor": PAPER, "markeredgecolor": style["color"],
        "markeredgewidth": 2, "zorder": 4 + place / 10,
    }  # fmt: skip
    roc.plot(alarms / max((~y).sum(), 1), hits / max(y.sum(), 1), **ring)
    if flagged.any():
        pr.plot(hits / max(y.sum(), 1), hits / flagged.sum(), **ring)


def _ranks(score: Array) -> Array:
    """Return the dense ranks: same order and ties, and finite."""
    return np.unique(score, return_inverse=True)[1]
