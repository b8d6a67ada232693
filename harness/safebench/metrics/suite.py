"""Compute the metrics that apply to an outcome, and say why others do not."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from .outcome import Value

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
) -> list[tuple[MetricSpec, Value]]:
    """Return each metric with its value, null with a note where a strategy lacks it.

    Metrics that need what the dataset lacks (category annotations, pairs, severities,
    votes) are left out: no strategy could give them.
    """
    return [
        (spec, _value(outcome, spec)) for spec in specs if _serves(outcome, spec.needs)
    ]


def _serves(outcome: Outcome, needs: frozenset[str]) -> bool:
    """Tell whether the dataset has the truth that a metric compares with."""
    there = {
        "pairs": outcome.pairs is not None,
        "severity": outcome.severity is not None,
        "votes": False,
    }
    if not all(there.get(need, True) for need in needs):
        return False
    annotated = outcome.gold is not None or bool(outcome.category_note)
    return "categories" not in needs or annotated


def _value(outcome: Outcome, spec: MetricSpec) -> Value:
    lacking = _lacking(outcome)
    for need in sorted(spec.needs & lacking.keys()):
        return Value(None, lacking[need], n_scored=0)
    value: Value = spec.code()(outcome)
    if value.value is not None and not isfinite(value.value):
        return replace(value, value=None, note=value.note or "not a finite number")
    return value


def _lacking(outcome: Outcome) -> dict[str, str]:
    """Return what the judgements lack, with the note that says so."""
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
    return {need: note for need, (there, note) in has.items() if not there}
