"""Thresholds with a promise: conformal risk control, and learn then test.

Both bound a risk of new samples that are exchangeable with the calibration part: the
share of negatives that are flagged, of positives that are missed, or of samples that
are flagged. The loss of a sample is 0 or 1.

- ``crc``: conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster 2022).
  The least strict threshold at which (errors + 1) / (n + 1) is at most alpha. The risk
  is at most alpha on average over calibration parts.
- ``ltt``: learn then test (Angelopoulos, Bates, Candes, Jordan and Lei 2021). From the
  strictest threshold on, each is tested against a risk above alpha, until one is not
  rejected (fixed sequence testing). The risk is at most alpha with a probability of
  1 - delta over calibration parts. The p-value is exact: P(Binomial(n, alpha) <=
  errors).

Samples of one group depend on each other; groups do not. Where a group has several
samples of the kind, its loss is the mean of theirs, n counts groups, and the risk is
the mean loss of a new group. Its p-value is then that of Hoeffding and Bentkus for
losses from 0 to 1 (Bates et al. 2021).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import binom

from safebench.errors import DataError, OptionError
from safebench.statistics.resampling_weights import group_codes

from .thresholds import COST, GIVEN, MAX_FPR, MIN_RECALL, ThresholdChoice, choice_at

if TYPE_CHECKING:
    from safebench.typing import Array

    from .thresholds import Rule, ScoredSamples

CRC, LTT = "crc", "ltt"
METHODS = (CRC, LTT)
DELTA = 0.05  # of learn then test: how often the risk may be above alpha
_TOLERANCE = 1e-12


class Losses(NamedTuple):
    """The loss of G groups at m thresholds, as sums by threshold.

    `thresholds` (m,) are the distinct scores, the strictest first: the one that makes
    the fewest errors of the kind. `total` (m,) is the sum of the groups' mean losses.
    `n` counts groups, of which `grouped` tells whether any has several samples.
    """

    thresholds: Array
    total: Array
    n: int
    kind: str
    grouped: bool


def control(
    method: str, rule: Rule, samples: ScoredSamples, delta: float = DELTA
) -> ThresholdChoice:
    """Return the least strict threshold that a method promises to keep a rule's risk.

    Raises OptionError for a rule without a risk, and DataError where the samples are
    too few for any threshold to be promised, or none keeps it.
    """
    if rule.name in (COST, GIVEN):
        raise OptionError(
            f"--control {method} bounds a rate: say --max-fpr, --min-recall or "
            f"--review-budget, not {rule.option}"
        )
    assert rule.value is not None
    alpha = 1 - rule.value if rule.name == MIN_RECALL else rule.value
    losses = group_losses(rule, samples)
    needed = least_n(method, alpha, delta)
    if losses.n < needed:
        of_groups = " groups of" if losses.grouped else ""
        raise DataError(
            f"{losses.n:,}{of_groups} {losses.kind} in the calibration part, "
            f"--control {method} takes {needed:,} for {rule.option}: evaluate more "
            "samples, or allow a larger budget"
        )
    kept = _kept(method, losses, alpha, delta)
    # Along a fixed sequence the first that is not rejected ends it.
    last = len(kept) if kept.all() else int(np.argmin(kept))
    if not last:
        raise DataError(
            f"--control {method}: no threshold keeps {rule.option}: even the strictest "
            f"one makes {losses.total[0]:.3g} errors in {losses.n:,} {losses.kind}, as "
            "many as are failed or equal, or too many for so few"
        )
    choice = choice_at(float(losses.thresholds[last - 1]), samples)
    return replace(choice, notes=(*choice.notes, promise(method, losses, alpha, delta)))


def promise(method: str, losses: Losses, alpha: float, delta: float) -> str:
    """Return what a method promises, in one sentence."""
    whose = "a new group's" if losses.grouped else "new"
    error = "missed" if losses.kind == "positives" else "flagged"
    rate = f"at most {100 * alpha:.3g} % of {whose} {losses.kind} are {error}"
    rests = f"from {losses.n:,} {'groups of ' if losses.grouped else ''}{losses.kind}"
    if method == CRC:
        return f"on average over calibration parts {rate} ({rests})"
    return f"with a probability of {100 * (1 - delta):.3g} % {rate} ({rests})"


def least_n(method: str, alpha: float, delta: float = DELTA) -> int:
    """Return how many samples (groups) it takes for a promise without any error.

    For CRC 1 / (n + 1) <= alpha, for LTT (1 - alpha)^n <= delta.
    """
    if method == CRC:
        return math.ceil(1 / alpha - 1 - 1e-9)
    return math.ceil(math.log(delta) / math.log1p(-alpha) - 1e-9)


def group_losses(rule: Rule, samples: ScoredSamples) -> Losses:
    """Return the losses of a rule by threshold, with failed samples as errors."""
    if rule.name == MIN_RECALL:
        kind, among = "positives", samples.y
    elif rule.name == MAX_FPR:
        kind, among = "negatives", ~samples.y
    else:
        kind, among = "samples", np.ones(samples.n, dtype=bool)
    cuts = np.unique(samples.score[~np.isnan(samples.score)])
    if not len(cuts):
        raise DataError("no sample of the calibration part has a score")
    codes = np.unique(group_codes(samples.groups)[among], return_inverse=True)[1]
    sizes = np.bincount(codes)
    weights = 1 / sizes[codes] if len(codes) else np.zeros(0)
    scores = samples.score[among]
    known = ~np.isnan(scores)
    order = np.argsort(scores[known], kind="stable")
    ranked, cumulated = scores[known][order], np.cumsum(weights[known][order])
    cumulated = np.concatenate([[0.0], cumulated])
    below = cumulated[np.searchsorted(ranked, cuts, side="left")]
    if rule.name == MIN_RECALL:
        # Missed: what lies below the threshold, and what failed.
        total, thresholds = below + weights[~known].sum(), cuts
    else:
        flagged = samples.flagged(-np.inf)[among]  # failed positives are not flagged
        failed = weights[~known & flagged].sum()
        total, thresholds = (cumulated[-1] - below + failed)[::-1], cuts[::-1]
    return Losses(thresholds, total, len(sizes), kind, bool((sizes > 1).any()))


def _kept(method: str, losses: Losses, alpha: float, delta: float) -> Array:
    """Tell of each threshold whether its risk is promised, (m,) bool."""
    if method == CRC:
        bounded: Array = losses.total + 1 <= alpha * (losses.n + 1) + _TOLERANCE
        return bounded
    rejected: Array = p_values(losses, alpha) <= delta
    return rejected


def p_values(losses: Losses, alpha: float) -> Array:
    """Return the p-value of a risk above alpha at each threshold, (m,)."""
    if not losses.grouped:
        exact: Array = binom.cdf(np.rint(losses.total), losses.n, alpha)
        return exact
    mean = losses.total / losses.n
    hoeffding = np.exp(-losses.n * _divergence(np.minimum(mean, alpha), alpha))
    errors = np.ceil(losses.total - 1e-9)
    bentkus = math.e * binom.cdf(errors, losses.n, alpha)
    bounded: Array = np.minimum(np.minimum(hoeffding, bentkus), 1.0)
    return bounded


def _divergence(share: Array, alpha: float) -> Array:
    """Return the Kullback-Leibler divergence of two coins, share from alpha."""
    from scipy.special import rel_entr

    result: Array = rel_entr(share, alpha) + rel_entr(1 - share, 1 - alpha)
    return result
