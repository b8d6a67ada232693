"""Calibration: a reliability diagram, with the ECE that chance alone would give.

The expected calibration error is biased upwards at small n: a perfectly calibrated
score has one above 0, too. `null_mean` and `null_p95` say how large it would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.metrics.calibration import BRIER, ECE, ece_if_calibrated
from safebench.statistics.interval import clustered_share
from safebench.statistics.resampling_weights import group_codes
from safebench.statistics.sufficient_statistics import equal_width_edges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityDiagram:
    """A reliability diagram of P(positive) in equal bins, all arrays (bins,).

    `count` samples a bin; `mean_predicted` is their mean probability and
    `fraction_positive` the share of positives among them, with the 95 % interval of
    grouped shares `low` to `high`; NaN in empty bins. `ece` is the mean over samples of
    the distance between both; a calibrated score would show `null_mean` on average, and
    more than `null_p95` in 5 % of cases. `clipped` probabilities lay outside 0 to 1.
    """

    count: Array
    mean_predicted: Array
    fraction_positive: Array
    low: Array
    high: Array
    ece: float
    null_mean: float
    null_p95: float
    brier: float
    clipped: int


def reliability_diagram(
    y: Array, p: Array, groups: Sequence[str] | None = None
) -> ReliabilityDiagram:
    """Compare n >= 1 probabilities `p` (n,) with labels `y` (n,) bool.

    `groups` (n,) are dependent samples; without them each is alone.

    Bins, ECE and Brier score are those of the metrics, so that both say the same.
    """
    clipped = int(((p < 0) | (p > 1)).sum())
    # Clipped as the metrics do, and counted: a reader should know that these were no
    # probabilities.
    p = p.clip(0, 1)
    edges = equal_width_edges()
    n_bins = len(edges) - 1
    bins = np.searchsorted(edges[1:-1], p)
    count = np.bincount(bins, minlength=n_bins)
    positives = np.bincount(bins, y.astype(float), n_bins)
    index = np.arange(len(y)) if groups is None else group_codes(groups)
    low, high = np.full((2, n_bins), np.nan)
    for bin_ in np.flatnonzero(count):
        rows = bins == bin_
        share = clustered_share(index[rows], y[rows].astype(float), index.max() + 1)
        low[bin_], high[bin_] = share.low, share.high
    ece, brier = ECE.value(y, p), BRIER.value(y, p)
    assert ece is not None, "no probabilities"
    assert brier is not None, "no probabilities"
    null_mean, null_p95 = ece_if_calibrated(y, p, edges)
    filled = np.where(count > 0, count, np.nan)
    return ReliabilityDiagram(
        count=count,
        mean_predicted=np.bincount(bins, p, n_bins) / filled,
        fraction_positive=positives / filled,
        low=low,
        high=high,
        ece=ece,
        null_mean=null_mean,
        null_p95=null_p95,
        brier=brier,
        clipped=clipped,
    )
