"""Compute the metrics that apply to an outcome, and say why others do not."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from .outcome import MetricValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench.specs import MetricSpec

    from .outcome import Outcome

NO_SCORE = "the strategy gives no score"
NO_PROBABILITY = "the score is no probability"
NO_DECISION = "the strategy gives no decision"
NO_UNCERTAINTY = "the strategy gives no uncertainty"
NO_BOUNDS = "the strategy gives no bounds"


def compute(
    outcome: Outcome, specs: Iterable[MetricSpec]
) -> list[tuple[MetricSpec, MetricValue]]:
    """Return each metric with its value, null with a note where a strategy lacks it.

    Metrics that need what the dataset lacks (category annotations, pairs, severities,
    votes) are left out: no strategy could give them.
    """
    return [
        (spec, _metric_value(outcome, spec))
        for spec in specs
        if dataset_supports(outcome, spec)
    ]


def dataset_supports(outcome: Outcome, spec: MetricSpec) -> bool:
    """Tell whether the dataset has the truth that a metric compares with."""
    if "categories" in spec.needs and outcome.gold is None:
        return bool(outcome.category_note)  # annotated, but not in these categories
    available = {
        "pairs": outcome.pairs is not None,
        "severity": outcome.severity is not None,
        "votes": False,
    }
    return all(available.get(need, True) for need in spec.needs)


def missing_input(outcome: Outcome, spec: MetricSpec) -> str | None:
    """Return what the judgements lack for a metric, as a note; None for nothing."""
    scored = outcome.score is not None
    bounded = outcome.lower is not None and outcome.upper is not None
    named = outcome.gold is not None and outcome.predicted is not None
    has = {
        "score": (scored, NO_SCORE),
        "probability": (
            scored and outcome.probability,
            NO_PROBABILITY if scored else NO_SCORE,
        ),
        "decision": (outcome.decision is not None, NO_DECISION),
        "uncertainty": (outcome.uncertainty is not None, NO_UNCERTAINTY),
        "bounds": (scored and bounded, NO_BOUNDS),
        "categories": (named, outcome.category_note or "no category judgements"),
    }
    for need in sorted(spec.needs & has.keys()):
        present, note = has[need]
        if not present:
            return note
    return None


def _metric_value(outcome: Outcome, spec: MetricSpec) -> MetricValue:
    note = missing_input(outcome, spec)
    if note is not None:
        return MetricValue(None, note, n_scored=0)
    value: MetricValue = spec.code()(outcome)
    if value.value is not None and not isfinite(value.value):
        return replace(value, value=None, note=value.note or "not a finite number")
    return value
