"""Whether a probability of 0.8 is right eight times in ten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .intervals import wilson

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

BINS = 15
_DRAWS = 200
_CELLS = 2_000_000  # random numbers held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A reliability diagram of P(positive) in equal bins, all arrays (bins,).

    `count` samples a bin, their mean probability `said`, the share of positives among
    them `seen` with Wilson's 95 % interval; NaN in empty bins. `ece` is the mean of
    |seen - said| over samples; even perfect probabilities score `null_mean` at this n,
    and stay below `null_p95` in 95 % of draws. `clipped` probabilities lay outside 0
    to 1.
    """

    count: Array
    said: Array
    seen: Array
    low: Array
    high: Array
    ece: float
    null_mean: float
    null_p95: float
    brier: float
    clipped: int


def calibration(y: Array, p: Array, seed: int = 0) -> Calibration:
    """Return how probabilities (k,) compare with what was true (k,)."""
    clipped = int(((p < 0) | (p > 1)).sum())
    p = p.clip(0, 1)
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    total = np.bincount(bins, p, BINS)
    positives = np.bincount(bins, y.astype(float), BINS)
    low, high = wilson(positives, count)
    null = _null(p, bins, total, np.random.default_rng(seed))
    size = np.where(count > 0, count, np.nan)
    return Calibration(
        count=count,
        said=total / size,
        seen=positives / size,
        low=low,
        high=high,
        ece=float(np.abs(positives - total).sum() / len(p)),
        null_mean=float(null.mean()),
        null_p95=float(np.quantile(null, 0.95)),
        brier=float(((p - y) ** 2).mean()),
        clipped=clipped,
    )


def _null(p: Array, bins: Array, total: Array, rng: np.random.Generator) -> Array:
    """Return the ECE of draws in which every probability is true, (draws,)."""
    order = np.argsort(bins, kind="stable")
    p, counts = p[order], np.bincount(bins)
    starts = np.concatenate(([0], np.cumsum(counts[counts > 0])[:-1]))
    total = total[: len(counts)][counts > 0]
    rows = max(1, min(_DRAWS, _CELLS // len(p)))
    found = []
    for first in range(0, _DRAWS, rows):
        size = (min(rows, _DRAWS - first), len(p))
        drawn = (rng.random(size, dtype=np.float32) < p).astype(np.float32)
        sums = np.add.reduceat(drawn, starts, axis=1)
        found.append(np.abs(sums - total).sum(axis=1) / len(p))
    return np.concatenate(found)
