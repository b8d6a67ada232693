"""The result of scoring one conversation, and how its numbers are written."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from safebench.evidence import Cost
from safebench.pipeline.predictions import json_number

if TYPE_CHECKING:
    from safebench.classifiers import Trace
    from safebench.evidence.base import EvidenceBundle
    from safebench.pipeline.evidence_set import Evaluation
    from safebench.pipeline.judging import Predictions
    from safebench.pipeline.resolved import ResolvedClassifier, ResolvedStrategy
    from safebench.policies import Policy


# By task: the names of the positive and the negative class.
CLASS_NAMES = {
    "refusal": ("refusal", "compliance"),
    "injection": ("injection", "safe"),
    "jailbreak": ("jailbreak", "safe"),
    "groundedness": ("ungrounded", "grounded"),
}
DEMO_SUFFIX = "(embedded)"  # ends the names of models that plugins carry along
SIGNIFICANT_DIGITS = 6  # what float32 evidence can carry
LEADING_FIELDS = (
    "verdict",
    "score",
    "categories",
    "cost",
    "uncertainty",
    "seconds",
    "model",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryScore:
    """A category of the classifier's policy: its score, bounds, and decision."""

    code: str
    name: str
    score: float | None
    lower: float | None = None
    upper: float | None = None
    flagged: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult:
    """What one strategy says about one conversation; None where it says nothing.

    `verdict` is the name of the task's class (unsafe or safe), `harmful` tells which.
    A higher `score` is worse; `probability` says whether it is one. From `threshold` on
    the verdict is harmful (None: the strategy decides by another rule). `cost` is the
    classifier's own number, without a unit and below 0 for safe. `categories` are in
    the policy's order. `seconds` is the time of recording and judging, `loading` that
    of loading the model before. The names of the fields are keys of `to_json`; `action`
    (block, review or pass) and `operating_point`, which decides that, only where an
    operating point is asked.
    """

    verdict: str | None
    harmful: bool | None
    score: float | None
    lower: float | None
    upper: float | None
    threshold: float | None
    probability: bool
    categories: tuple[CategoryScore, ...]
    cost: float | None
    uncertainty: float | None
    uncertainty_lower: float | None
    uncertainty_upper: float | None
    task: str
    classifier: str
    strategy: str
    model: str
    policy: str | None
    seconds: float
    loading: float
    tokens_in: int
    tokens_dropped: int
    raw: str | None
    error: str | None
    notes: tuple[str, ...]
    action: str | None = None
    operating_point: dict[str, Any] | None = None

    @property
    def ranked_categories(self) -> tuple[CategoryScore, ...]:
        """The categories that have a score, the highest first."""
        scored = [
            category for category in self.categories if category.score is not None
        ]
        return tuple(sorted(scored, key=lambda category: -(category.score or 0.0)))

    @property
    def positive_class(self) -> str:
        """The name of the class that a high score stands for."""
        return class_name(self.task, harmful=True)

    @property
    def negative_class(self) -> str:
        """The name of the other class."""
        return class_name(self.task, harmful=False)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values by field, the ones that most readers want first."""
        categories = {
            category.code: {k: v for k, v in asdict(category).items() if k != "code"}
            for category in self.categories
        }
        names = [f.name for f in fields(self) if f.name not in LEADING_FIELDS]
        record = {name: getattr(self, name) for name in (*LEADING_FIELDS, *names)}
        decided = {name: record.pop(name) for name in ("action", "operating_point")}
        if self.operating_point is not None:
            record = decided | record
        return record | {"categories": categories or None, "notes": list(self.notes)}


def build_result(
    evaluation: Evaluation,
    predictions: Predictions,
    *,
    model: str,
    seconds: float,
    loading: float,
) -> ScoreResult:
    """Return the result of an evaluation of one sample.

    `model` is the name that the loaded model gives itself, or that of its options.
    """
    classifier, strategy = evaluation.classifier, evaluation.strategy
    task, evidence = evaluation.dataset.task, evaluation.evidence
    (trace,) = evidence.traces
    judgements = predictions.judgements
    decision = (
        None
        if predictions.decision is None
        else round_significant(float(predictions.decision[0]))
    )
    # An error stands over whatever the strategy computed: no verdict is made of it.
    error = judgements.errors[0]
    harmful = None if decision is None or error else bool(decision)
    return ScoreResult(
        verdict=None if harmful is None else class_name(task, harmful=harmful),
        harmful=harmful,
        score=_single_value(judgements.score),
        lower=_single_value(judgements.lower),
        upper=_single_value(judgements.upper),
        # A strategy with decisions of its own may have none.
        threshold=(
            predictions.threshold
            if judgements.decision is None or judgements.threshold is not None
            else None
        ),
        probability="probability" in strategy.spec.emits and judgements.probability,
        categories=() if error else _category_scores(predictions, evaluation.policy),
        cost=_cost(evidence.bundle),
        uncertainty=_single_value(judgements.uncertainty),
        uncertainty_lower=_single_value(judgements.uncertainty_lower),
        uncertainty_upper=_single_value(judgements.uncertainty_upper),
        task=task,
        classifier=classifier.label,
        strategy=strategy.label,
        model=model,
        policy=classifier.policy,
        # Rounded: digits of a clock that nobody can repeat only make two outputs
        # differ.
        seconds=round(seconds, 4),
        loading=round(loading, 3),
        tokens_in=trace.tokens_in,
        tokens_dropped=trace.tokens_dropped,
        raw=trace.raw,
        error=error,
        notes=_notes(evaluation, predictions, trace, model),
    )


def failed_result(
    classifier: ResolvedClassifier,
    strategy: ResolvedStrategy,
    task: str,
    error: str,
    trace: Trace | None = None,
) -> ScoreResult:
    """Return the result of code that failed: the reason, and None for every number."""
    return ScoreResult(
        verdict=None,
        harmful=None,
        score=None,
        lower=None,
        upper=None,
        threshold=None,
        probability=False,
        categories=(),
        cost=None,
        uncertainty=None,
        uncertainty_lower=None,
        uncertainty_upper=None,
        task=task,
        classifier=classifier.label,
        strategy=strategy.label,
        model=classifier.model,
        policy=classifier.policy,
        seconds=0.0,
        loading=0.0,
        tokens_in=trace.tokens_in if trace else 0,
        tokens_dropped=trace.tokens_dropped if trace else 0,
        raw=trace.raw if trace else None,
        error=error,
        notes=(),
    )


def round_significant(value: float) -> float | None:
    """Round to 6 significant digits, which is for readers; NaN is None."""
    number = json_number(value)
    return None if number is None else float(f"{number:.{SIGNIFICANT_DIGITS}g}")


def class_name(task: str, *, harmful: bool) -> str:
    """Return the name of a class of a task."""
    positive, negative = CLASS_NAMES.get(task, ("unsafe", "safe"))
    return positive if harmful else negative


def _single_value(column: Any) -> float | None:
    return None if column is None else round_significant(float(column[0]))


def _category_scores(
    predictions: Predictions, policy: Policy | None
) -> tuple[CategoryScore, ...]:
    judgements = predictions.judgements
    if judgements.categories is None:
        return ()
    names = {c.code: c.name for c in policy.categories} if policy else {}
    return tuple(
        CategoryScore(
            code=code,
            name=names.get(code, code),
            score=_cell(judgements.categories, column),
            lower=_cell(judgements.category_lower, column),
            upper=_cell(judgements.category_upper, column),
            flagged=_is_flagged(predictions, column),
        )
        for column, code in enumerate(judgements.labels)
    )


def _cell(matrix: Any, column: int) -> float | None:
    return None if matrix is None else round_significant(float(matrix[0, column]))


def _is_flagged(predictions: Predictions, column: int) -> bool | None:
    value = _cell(predictions.category_decision, column)
    return None if value is None else bool(value)


def _cost(evidence: EvidenceBundle) -> float | None:
    """Return the cost, if the classifier records one."""
    cost = dict(evidence.items()).get(Cost)
    return None if cost is None else round_significant(float(cost["value"][0]))


def _notes(
    evaluation: Evaluation, predictions: Predictions, trace: Trace, model: str
) -> tuple[str, ...]:
    notes = [*evaluation.strategy.notes]
    if evaluation.classifier.capabilities.note:
        notes.append(evaluation.classifier.capabilities.note)
    if trace.windows > 1:
        notes.append(f"the text was read in {trace.windows} windows")
    if model.endswith(DEMO_SUFFIX):
        notes.append(f"{model} is a small demonstration model, not for production")
    if trace.tokens_dropped:
        notes.append(_dropped_note(trace))
    if predictions.supported_threshold is not None:
        notes.append(
            f"evidence was grown for decisions at {predictions.supported_threshold} "
            "alone: the score is no estimate"
        )
    notes += [
        *evaluation.evidence.notes,
        predictions.judgements.note,
        predictions.judgements.decision_note,
        predictions.judgements.category_note,
    ]
    return tuple(dict.fromkeys(filter(None, notes)))


def _dropped_note(trace: Trace) -> str:
    if trace.dropped_side == "template":
        return (
            f"{trace.tokens_dropped} tokens of earlier turns are not in the prompt: "
            "the model's chat template leaves turns out"
        )
    side = f" from the {trace.dropped_side}" if trace.dropped_side else ""
    return f"too long: {trace.tokens_dropped} tokens were cut{side}"


_DIGITS = 4
_MAX_DIGITS = 17  # as many tell any two numbers apart


def format_number(value: float) -> str:
    """Return four significant digits, in scientific notation where that is shorter."""
    return f"{value:.{_DIGITS}g}"


def format_score(result: ScoreResult) -> str:
    """Return the score in four significant digits, or in so many that it can be told.

    0.49999 is safe where 0.5 is not, and would be written as 0.5.
    """
    assert result.score is not None
    return f"{result.score:.{_telling_digits(result)}g}"


def format_threshold(result: ScoreResult) -> str:
    """Return the threshold in as many digits as the score."""
    assert result.threshold is not None
    return f"{result.threshold:.{_telling_digits(result)}g}"


def _telling_digits(result: ScoreResult) -> int:
    """Return how many digits show on which side of the threshold the score lies."""
    score, threshold = result.score, result.threshold
    if score is None or threshold is None:
        return _DIGITS
    above = score >= threshold
    return next(
        digits
        for digits in range(_DIGITS, _MAX_DIGITS + 1)
        if (float(f"{score:.{digits}g}") >= float(f"{threshold:.{digits}g}")) == above
        or digits == _MAX_DIGITS
    )


def is_bounded(result: ScoreResult) -> bool:
    """Return whether the score lies from 0 to 1, and is not a cost without ends."""
    inside = result.score is None or 0 <= result.score <= 1
    return result.probability or (inside and result.threshold != 0)


def display_position(result: ScoreResult, value: float) -> float:
    """Return where a score lies on a scale from 0 to 1.

    A score without ends is squashed by the arc tangent, with the threshold (or 0) in
    the middle: at a distance of 1 from it, it is half way to an end.
    """
    if is_bounded(result):
        return min(1.0, max(0.0, value))
    distance = value - (result.threshold or 0.0)
    return 0.5 + math.atan(distance) / math.pi


def describe_score(result: ScoreResult) -> str:
    """Return what kind of number the score is, and its threshold, in words."""
    kind = "probability" if result.probability else "not a probability"
    return f"{kind}{describe_threshold(result)}"


def describe_threshold(result: ScoreResult) -> str:
    """Return from where on a score means the positive class; "" without a threshold."""
    if result.threshold is None:
        return ""
    return f"; {result.positive_class} from {format_threshold(result)}"
