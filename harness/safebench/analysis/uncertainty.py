"""Uncertainty of decisions: where it comes from, and how well it finds errors.

`decision_uncertainty` reads or derives one value a decision, `error_detection` asks
whether wrong decisions have the larger values, and `compare_uncertainties` ranks
strategies that are uncertain about the very same decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.statistics import auroc_difference, auroc_interval, compute_auroc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

OWN_UNCERTAINTY = "the strategy's own uncertainty"
HISTOGRAM_BINS = 24
_INFINITE = 1e300  # predictions are JSON, which has no infinity: they store 1e308


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Uncertainty of the judged samples: `rows` (k,) of n, `values` (k,) finite.

    `source` says where it comes from, `from_strategy` whether the strategy itself
    gave it.
    """

    rows: Array
    values: Array
    source: str
    from_strategy: bool


def decision_uncertainty(predictions: StoredPredictions) -> Uncertainty | None:
    """Return the stored uncertainty, or how close the score is to the threshold.

    None where there is neither, or no decision to be uncertain of.
    """
    if not np.isnan(predictions.uncertainty).all():
        return _of_judged(
            predictions, predictions.uncertainty, OWN_UNCERTAINTY, from_strategy=True
        )
    threshold = predictions.threshold
    if threshold is None or np.isnan(predictions.score).all():
        return None
    # higher is less certain, as for every stored uncertainty
    closeness = -np.abs(predictions.score - threshold)

    source = f"closeness of the score to the threshold {threshold:.4g}"
    return _of_judged(predictions, closeness, source, from_strategy=False)


def _of_judged(
    predictions: StoredPredictions, values: Array, source: str, *, from_strategy: bool
) -> Uncertainty | None:
    rows = np.flatnonzero(predictions.judged & ~np.isnan(values))
    return Uncertainty(rows, values[rows], source, from_strategy) if rows.size else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Distribution of the uncertainty of some decisions; quartiles None without any.

    `counts` are those of the bins that right and wrong decisions share.
    """

    n: int
    quartiles: tuple[float, float, float] | None
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetection:
    """Uncertainty of right against wrong decisions.

    `auroc` is P(a wrong decision is less certain than a right one), None if all are
    right or all wrong, with a 95 % interval that resamples groups where there is one.
    """

    right: Distribution
    wrong: Distribution
    edges: tuple[float, ...]
    auroc: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def error_detection(
    wrong: Array, uncertainty: Array, groups: Sequence[str]
) -> ErrorDetection:
    """Compare the uncertainty (k,) of wrong decisions with that of right ones."""
    edges = np.histogram_bin_edges(_without_tails(uncertainty), bins=HISTOGRAM_BINS)
    # Into the outer bins, so that the counts are of all decisions.
    clipped = uncertainty.clip(edges[0], edges[-1])
    distributions: dict[str, Any] = {
        "right": _distribution(uncertainty[~wrong], clipped[~wrong], edges),
        "wrong": _distribution(uncertainty[wrong], clipped[wrong], edges),
        "edges": tuple(edges.tolist()),
    }
    if not wrong.any() or wrong.all():
        note = "no decision is wrong" if not wrong.any() else "every decision is wrong"
        return ErrorDetection(**distributions, auroc=None, note=note)
    low, high = auroc_interval(wrong, uncertainty, groups) or (None, None)
    auroc = compute_auroc(wrong, uncertainty)
    return ErrorDetection(**distributions, auroc=auroc, low=low, high=high)


def _without_tails(values: Array) -> Array:
    """Return the central 99 %: one far value would put all others into one bin."""
    finite = values[np.abs(values) < _INFINITE]
    if not finite.size:
        return np.zeros(1)
    low, high = np.quantile(finite, (0.005, 0.995))
    central: Array = finite[(finite >= low) & (finite <= high)]
    return central


def _distribution(values: Array, clipped: Array, edges: Array) -> Distribution:
    counts = np.histogram(clipped, bins=edges)[0]
    quartiles = None
    if values.size:
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        quartiles = (low, median, high)
    return Distribution(
        n=values.size, quartiles=quartiles, counts=tuple(counts.tolist())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyResult:
    """Error AUROC of one strategy, and its difference to the best with 95 % interval.

    `from_strategy` tells whether the uncertainty is the strategy's own. The best one
    has no interval.
    """

    strategy: str
    from_strategy: bool
    auroc: float
    difference: float = 0.0
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UncertaintyComparison:
    """Several uncertainties of the same n decisions, the best first.

    `n_errors` of the decisions are wrong.
    """

    classifier: str
    dataset: str
    n: int
    n_errors: int
    results: tuple[StrategyResult, ...]


def compare_uncertainties(
    candidates: Iterable[tuple[StoredPredictions, Uncertainty]],
) -> Iterator[UncertaintyComparison]:
    """Yield a comparison for each set of decisions with several uncertainties.

    Strategies are comparable only where they decide alike on the same samples: an
    uncertainty is judged by the errors that it finds, so the errors must be the same.
    """
    by_decisions: dict[
        tuple[object, ...], list[tuple[StoredPredictions, Uncertainty]]
    ] = {}
    for predictions, uncertainty in candidates:
        wrong = predictions.wrong
        of_judged = wrong[uncertainty.rows]
        if not of_judged.any() or of_judged.all():
            continue
        key = (
            predictions.classifier,
            predictions.dataset,
            uncertainty.rows.tobytes(),
            wrong.tobytes(),
        )
        by_decisions.setdefault(key, []).append((predictions, uncertainty))
    for same_decisions in by_decisions.values():
        if len(same_decisions) > 1:
            yield _compare(same_decisions)


def _compare(
    candidates: Sequence[tuple[StoredPredictions, Uncertainty]],
) -> UncertaintyComparison:
    predictions, uncertainty = candidates[0]
    wrong = predictions.wrong[uncertainty.rows]
    groups = predictions.groups.select(uncertainty.rows)
    ranked = sorted(
        (
            (compute_auroc(wrong, uncertainty.values), candidate.method, uncertainty)
            for candidate, uncertainty in candidates
        ),
        key=lambda entry: -entry[0],
    )
    best_auroc, _, best = ranked[0]
    results = []
    for position, (auroc, strategy, uncertainty) in enumerate(ranked):
        # Paired: both are judged by the same errors, so that much of what is left open
        # cancels.
        paired = auroc_difference(wrong, best.values, uncertainty.values, groups)
        difference, low, high = paired or (auroc - best_auroc, None, None)
        results.append(
            StrategyResult(
                strategy=strategy,
                from_strategy=uncertainty.from_strategy,
                auroc=auroc,
                difference=difference,
                low=low if position else None,
                high=high if position else None,
            )
        )
    return UncertaintyComparison(
        classifier=predictions.classifier,
        dataset=predictions.dataset,
        n=len(wrong),
        n_errors=int(wrong.sum()),
        results=tuple(results),
    )
