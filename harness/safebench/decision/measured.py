"""What a threshold does on labelled samples: rates, review, cost, with intervals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError
from safebench.metrics.arrays import metric_interval
from safebench.metrics.column_intervals import checked
from safebench.metrics.definition import both_classes
from safebench.statistics.interval import (
    Interval,
    clustered_share,
    function_of_shares,
)
from safebench.statistics.resampling_weights import group_codes

from .prevalence import at_prevalence
from .thresholds import ScoredSamples, finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

    from .thresholds import Rule

RATES = ("fpr", "recall", "precision")
FLAGGED, REVIEWED, FOUND, COST = "flagged", "reviewed", "recall_with_review", "cost"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewBand:
    """Scores that a person looks at: from `low` on, and below `high` (None: no end)."""

    low: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDecisions:
    """What a threshold does on the samples of a data set; None where not known.

    `metrics` are as in the data: `fpr`, `recall`, `precision`, `flagged` (share of all
    samples), with a review band `reviewed` and `recall_with_review` (share of positives
    that are blocked or reviewed), with costs `cost` (mean of a sample). `at_prevalence`
    holds precision and counts per million. `bounds` are the ends between which FPR and
    recall lie where `n_straddling` scores are bounded on both sides of the threshold.
    `n_tied` scores equal the threshold.
    """

    dataset: str
    part: str
    threshold: float
    n: int
    n_pos: int
    n_failed: int
    n_groups: int
    n_tied: int
    n_straddling: int
    metrics: dict[str, Interval]
    at_prevalence: dict[str, Interval] = field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return every count and metric, with intervals, as JSON values."""
        at_prevalence = {n: _record(i) for n, i in self.at_prevalence.items()}
        return {
            "dataset": self.dataset,
            "part": self.part,
            "threshold": finite(self.threshold),
            "n": self.n,
            "n_pos": self.n_pos,
            "n_failed": self.n_failed,
            "n_groups": self.n_groups,
            "n_tied": self.n_tied,
            "n_straddling": self.n_straddling,
            "metrics": {n: _record(i) for n, i in self.metrics.items()},
            "at_prevalence": at_prevalence or None,
            "bounds": self.bounds,
        }


def _record(interval: Interval) -> dict[str, Any]:
    names = ("value", "low", "high", "method", "note")
    return {name: getattr(interval, name) for name in names}


def scored_samples(predictions: StoredPredictions) -> ScoredSamples:
    """Return the scores of predictions; raises DataError where there are none."""
    # A failed sample may still hold whatever the strategy left there.
    failed = np.array([error is not None for error in predictions.errors], dtype=bool)
    score = np.where(failed, np.nan, predictions.score)
    if np.isnan(score).all():
        raise DataError(_why_no_score(predictions))
    return ScoredSamples(predictions.y, score, predictions.groups)


def _why_no_score(predictions: StoredPredictions) -> str:
    if not np.isnan(predictions.lower).all() and predictions.judged.any():
        at = "one threshold"
        if predictions.threshold is not None:
            at = f"the threshold {predictions.threshold:g}"
        return (
            f"its evidence was cut short and supports decisions at {at} alone: record "
            "it whole, as with stop=eps"
        )
    if not predictions.judged.any() and any(predictions.errors):
        return "every sample failed"
    if not np.isnan(predictions.uncertainty).all():
        return "the strategy gives an uncertainty and no score of harm"
    return "the strategy gives no score"


def measure(
    threshold: float,
    predictions: StoredPredictions,
    *,
    part: str,
    rule: Rule,
    prevalence: float | None = None,
    review: ReviewBand | None = None,
) -> MeasuredDecisions:
    """Return what a threshold does on some predictions, failed samples as wrong."""
    samples = scored_samples(predictions)
    flagged = samples.flagged(threshold)
    index = group_codes(samples.groups)
    metrics = {
        name: metric_interval(
            name, samples.y, decision=flagged.astype(float), groups=samples.groups
        )
        for name in RATES
    }
    everywhere = np.ones(samples.n, dtype=bool)
    metrics[FLAGGED] = share_interval(flagged, everywhere, index, {})
    if review is not None:
        in_band = _in_band(samples, review, flagged)
        metrics[REVIEWED] = share_interval(in_band, everywhere, index, {})
        metrics[FOUND] = share_interval(
            flagged | in_band, samples.y, index, {"positives": samples.y}
        )
    if rule.has_costs:
        metrics[COST] = _cost(rule, samples, flagged, index, prevalence)
    at: dict[str, Interval] = {}
    if prevalence is not None:
        at = at_prevalence(samples.y, flagged, samples.groups, prevalence)
    straddling, bounds = _bounds(threshold, predictions, samples)
    return MeasuredDecisions(
        dataset=predictions.dataset,
        part=part,
        threshold=threshold,
        n=samples.n,
        n_pos=samples.n_pos,
        n_failed=samples.n_failed,
        n_groups=len(np.unique(index)),
        n_tied=int((samples.score == threshold).sum()),
        n_straddling=straddling,
        metrics=metrics,
        at_prevalence=at,
        bounds=bounds,
    )


def _in_band(samples: ScoredSamples, review: ReviewBand, flagged: Array) -> Array:
    """Tell which samples are reviewed, (n,) bool; a failed one has no score to be in.

    A band without an upper end reviews what is flagged.
    """
    high = np.inf if review.high is None else review.high
    with np.errstate(invalid="ignore"):
        inside: Array = (samples.score >= review.low) & (samples.score < high)
    return inside if review.high is None else inside & ~flagged


def share_interval(
    hits: Array, among: Array, index: Array, classes: dict[str, Array]
) -> Interval:
    """Return the share of `hits` (n,) bool among some samples, (n,) bool, by groups.

    `classes` are those that it rests on, as `metrics.intervals.checked` takes them.
    """
    n_groups = len(np.unique(index[among]))
    if not among.any():
        return Interval(None, None, None, "no samples", 0)
    share = clustered_share(
        index[among], hits[among].astype(float), int(index.max()) + 1
    )
    known = {name: members[among] for name, members in classes.items()}
    unchecked = Interval(share.value, share.low, share.high, "mid-p", n_groups)
    return checked(unchecked, index[among], known)


def _cost(
    rule: Rule,
    samples: ScoredSamples,
    flagged: Array,
    index: Array,
    prevalence: float | None,
) -> Interval:
    """Return the mean cost of a sample, by MOVER from the shares that it depends on."""
    n_groups = len(np.unique(index))
    y = samples.y
    if y.all() or not y.any():
        one = "negatives" if y.all() else "positives"
        return Interval(None, None, None, f"no {one}", n_groups)
    cost_fp, cost_fn = rule.cost_fp, rule.cost_fn
    assert cost_fp is not None
    assert cost_fn is not None
    missed, false_positives, positive = (
        clustered_share(index[among], hits[among].astype(float), int(index.max()) + 1)
        for hits, among in ((~flagged, y), (flagged, ~y), (y, np.ones_like(y)))
    )

    def mean(shares: Sequence[float]) -> float:
        share = shares[2] if prevalence is None else prevalence
        return share * cost_fn * shares[0] + (1 - share) * cost_fp * shares[1]

    shares = (missed, false_positives, positive)
    low, high = function_of_shares(mean, shares)
    value = mean([share.value for share in shares])
    interval = Interval(value, max(low, 0.0), high, "mover", n_groups)
    return checked(interval, index, both_classes(y))


def _bounds(
    threshold: float, predictions: StoredPredictions, samples: ScoredSamples
) -> tuple[int, dict[str, tuple[float, float]]]:
    """Return how many decisions bounds leave open, and FPR and recall at both ends."""
    with np.errstate(invalid="ignore"):
        low = np.where(np.isnan(predictions.lower), samples.score, predictions.lower)
        high = np.where(np.isnan(predictions.upper), samples.score, predictions.upper)
        straddling = int(((low < threshold) & (high >= threshold)).sum())
    if not straddling:
        return 0, {}
    bounds = {}
    for name, among in (("fpr", ~samples.y), ("recall", samples.y)):
        if among.any():
            ends = [
                float(
                    ScoredSamples(samples.y, bound, samples.groups)
                    .flagged(threshold)[among]
                    .mean()
                )
                for bound in (low, high)
            ]
            bounds[name] = (ends[0], ends[1])
    return straddling, bounds
