"""Compute the metrics that apply to an outcome, and say why others do not."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from safebench.errors import SafebenchError
from safebench.isolation import isolated

from .outcome import MetricValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safebench.specs import MetricSpec

    from .outcome import Outcome

NO_SCORE = "the strategy gives no score"
NO_PROBABILITY = "the score is no probability"
NO_DECISION = "the strategy gives no decision"
NO_UNCERTAINTY = "the strategy gives no uncertainty"
NO_BOUNDS = "the strategy gives no bounds"
NO_CATEGORY_BOUNDS = "the strategy gives no bounds of categories"
NO_UNCERTAINTY_BOUNDS = "the strategy gives no bounds of its uncertainty"
CATEGORIES_RANK = "a threshold means nothing on the strategy's categories"
CATEGORIES_DECIDE = "evidence was cut short: categories decide, and have no score"


def compute(
    outcome: Outcome,
    specs: Iterable[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None = None,
) -> list[tuple[MetricSpec, MetricValue]]:
    """Return each metric with its value, null with a note where a strategy lacks it.

    Metrics that need what the dataset lacks (category annotations, pairs, severities,
    votes) are left out: no strategy could give them. One that fails is null with a
    note, the others go on, and `on_error` is called with the reason.
    """
    values = []
    for spec in specs:
        if not dataset_supports(outcome, spec):
            continue
        try:
            value = _metric_value(outcome, spec)
        except SafebenchError as error:
            value = MetricValue(None, error.message, n_scored=0)
            if on_error is not None:
                on_error(error)
        values.append((spec, value))
    return values


def call_metric(spec: MetricSpec, outcome: Outcome) -> MetricValue:
    """Return what a metric says of an outcome.

    Raises `PluginError` if it fails, or returns anything but a `MetricValue` of numbers
    and texts.
    """
    metric = spec.code()
    with isolated(spec):
        return check_value(metric(outcome))


def check_value(value: Any) -> MetricValue:
    """Return a metric's value with Python's numbers; raises TypeError for others."""
    if not isinstance(value, MetricValue):
        returned = "None" if value is None else f"a {type(value).__name__}"
        raise TypeError(f"returned {returned}, not a MetricValue")
    if not isinstance(value.note, str):
        raise TypeError(f"the note is a {type(value.note).__name__}, no text")
    return MetricValue(
        _number(value.value, "value"),
        value.note,
        None if value.n_scored is None else int(_number(value.n_scored, "n_scored")),
        _number(value.bound_low, "bound_low"),
        _number(value.bound_high, "bound_high"),
    )


def _number(value: Any, name: str) -> Any:
    number = value
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        number = value.item()  # of numpy, which this module does not import
    if number is None or type(number) in (int, float):
        return number
    raise TypeError(f"{name} is a {type(value).__name__}, no number")


def dataset_supports(outcome: Outcome, spec: MetricSpec) -> bool:
    """Tell whether the dataset has the truth that a metric compares with."""
    if spec.needs & {"categories", "category_scores"} and outcome.gold is None:
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
    bounded, category_bounded, uncertainty_bounded = (
        low is not None and high is not None
        for low, high in (
            (outcome.lower, outcome.upper),
            (outcome.category_lower, outcome.category_upper),
            (outcome.uncertainty_lower, outcome.uncertainty_upper),
        )
    )
    annotated = outcome.gold is not None
    no_categories = outcome.category_note or "no category judgements"
    has = {
        "score": (scored, NO_SCORE),
        "probability": (
            scored and outcome.probability,
            NO_PROBABILITY if scored else NO_SCORE,
        ),
        "decision": (outcome.decision is not None, NO_DECISION),
        "uncertainty": (outcome.uncertainty is not None, NO_UNCERTAINTY),
        "bounds": (scored and bounded, NO_BOUNDS),
        "category_bounds": (category_bounded, NO_CATEGORY_BOUNDS),
        "uncertainty_bounds": (uncertainty_bounded, NO_UNCERTAINTY_BOUNDS),
        "categories": (
            annotated and outcome.predicted is not None,
            CATEGORIES_RANK if annotated else no_categories,
        ),
        "category_scores": (
            annotated and outcome.category_score is not None,
            CATEGORIES_DECIDE if annotated else no_categories,
        ),
    }
    # Sorted: of several things that are missing, the note names the same one each time.
    for need in sorted(spec.needs & has.keys()):
        present, note = has[need]
        if not present:
            return note
    return None


def _metric_value(outcome: Outcome, spec: MetricSpec) -> MetricValue:
    note = missing_input(outcome, spec)
    if note is not None:
        return MetricValue(None, note, n_scored=0)
    value = call_metric(spec, outcome)
    # JSON has no infinity, and nothing can be ranked by NaN.
    if value.value is not None and not isfinite(value.value):
        return replace(value, value=None, note=value.note or "not a finite number")
    return value
