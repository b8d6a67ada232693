"""Tests of exchangeability: whether later numbers are like those of a reference.

The alarm may be looked at after every number. Each one gets a smoothed conformal
p-value, its rank among the reference and all numbers before it. If all numbers are
exchangeable, these p-values are independent and uniform, however small the reference
is (Vovk, Gammerman and Shafer 2005, theorem 8.2). A gambler who bets against that
with a capital of 1 and fair bets has a test martingale, so that the capital ever
reaches 1 / alpha with a probability of at most alpha (Ville 1939). The bets are those
of the Simple Jumper (Vovk et al. 2021, "Retrain or not retrain"), on the p-values and
on their distance from the middle, and of a histogram of the p-values so far.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

# A bet of slope e on a p-value p pays 1 + e (p - 1/2); beyond 2 it could go below 0.
SLOPES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
# How much of the capital moves between the slopes at each step, one player each.
JUMPS = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
BINS = 10  # of the histogram
# How many times as frequent an event is that a player bets on.
RATIOS = np.array([1.5, 2.0, 4.0, 8.0, 16.0, 32.0])
MAX_RATE = 0.95  # no player bets all that an event is certain


def conformal_p_values(
    reference: Sequence[float] | Array, stream: Sequence[float] | Array, seed: int = 0
) -> Array:
    """Return the p-value of each number of a stream, (m,), by rank from above.

    It is the share of higher numbers among the reference, the stream so far and the
    number itself, where the last one and its ties count by a random share (`seed`):
    that makes p-values uniform, whatever ties there are.
    """
    known = sorted(float(x) for x in reference)
    shares = np.random.default_rng(seed).random(len(stream))
    p_values = np.empty(len(stream))
    for i, x in enumerate(stream):
        number = float(x)
        below, up_to = bisect_left(known, number), bisect_right(known, number)
        higher, tied = len(known) - up_to, up_to - below + 1
        p_values[i] = (higher + shares[i] * tied) / (len(known) + 1)
        insort(known, number)
    return p_values


def log_capital(p_values: Array) -> Array:
    """Return the log of the capital after each p-value, (..., m) for (..., m).

    Half of the first capital is bet by Simple Jumpers, half by the histogram.
    """
    p_values = np.asarray(p_values, dtype=float)
    jumpers, histogram = _log_jumpers(p_values), _log_histogram(p_values)
    return mean_capital(jumpers, histogram)


def mean_capital(a: Array, b: Array) -> Array:
    """Return the log of the mean of two capitals: a martingale, too."""
    mean: Array = np.logaddexp(a, b) - np.log(2)
    return mean


def log_capital_of_rate(reference: Array, stream: Array, seed: int = 0) -> Array:
    """Return the log capital of bets that an event became more frequent, (m,).

    `reference` (n,) and `stream` (m,) bool say where it happened. An event has a
    p-value, as in `conformal_p_values`, of at most its share among all lines so far and
    itself; that share is known before, and each player bets that the p-value is below
    it so many times as often as it should be.
    """
    events = np.asarray(stream, dtype=bool)
    before = int(np.sum(reference)) + np.cumsum(events) - events
    size = len(reference) + np.arange(len(events)) + 1  # with the line itself
    share = (before + 1) / size
    uniform = np.random.default_rng(seed).random(len(events))
    p_values = np.where(
        events, uniform * share, (before + uniform * (size - before)) / size
    )
    rates = np.minimum(RATIOS * share[:, None], MAX_RATE)
    # An event that is the rule already cannot become much more frequent: no bet.
    rates = np.maximum(rates, share[:, None])
    low = (p_values <= share)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        bets = np.where(
            low,
            np.log(rates / share[:, None]),
            np.log1p(-rates) - np.log1p(-share[:, None]),
        )
    together = np.logaddexp.reduce(np.cumsum(bets, axis=0), axis=1)
    path: Array = together - np.log(len(RATIOS))
    return path


def _log_jumpers(p_values: Array) -> Array:
    """Return the log of the mean capital of a Simple Jumper for each rate of jumps."""
    shape = p_values.shape[:-1]
    # what is bet on: high or low p-values, and those far from or near the middle
    centred = np.stack([p_values - 0.5, np.abs(2 * p_values - 1) - 0.5], axis=-1)
    shares = np.full((*shape, 2, len(JUMPS), len(SLOPES)), 1 / len(SLOPES))
    logs = np.zeros((*shape, 2, len(JUMPS)))
    stay, move = (1 - JUMPS)[:, None], (JUMPS / len(SLOPES))[:, None]
    path = np.empty(p_values.shape)
    for step in range(p_values.shape[-1]):
        # shares sum to 1, so that what moves is a fixed part
        shares = stay * shares + move
        shares *= 1 + SLOPES * centred[..., step, :, None, None]
        total = shares.sum(axis=-1)
        shares /= total[..., None]
        logs += np.log(total)
        path[..., step] = np.logaddexp.reduce(
            logs.reshape(*shape, -1), axis=-1
        ) - np.log(2 * len(JUMPS))
    return path


def _log_histogram(p_values: Array) -> Array:
    """Return the log capital of bets by how often p-values fell into each bin.

    Each bin starts with one count (Laplace), and no bet is lost whole.
    """
    bins = np.minimum((p_values * BINS).astype(int), BINS - 1)
    seen = np.ones((*p_values.shape[:-1], BINS))
    path = np.zeros(p_values.shape)
    total = np.zeros(p_values.shape[:-1])
    for step in range(p_values.shape[-1]):
        place = bins[..., step, None]
        count = np.take_along_axis(seen, place, axis=-1)
        total = total + np.log(BINS * count[..., 0] / (BINS + step))
        np.put_along_axis(seen, place, count + 1, axis=-1)
        path[..., step] = total
    return path
