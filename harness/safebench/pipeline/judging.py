"""Judging: a strategy reads stored evidence, and what it returns is checked.

A failed sample stays in its place. Nothing is repaired: a probability of two that is
clipped to one would be published as if somebody had meant it.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from safebench.errors import PluginError
from safebench.evidence.arrays import TOLERANCE, outside_unit
from safebench.evidence.meta_checks import meta_problem
from safebench.evidence.trace_columns import is_constant, trace_column
from safebench.isolation import isolated
from safebench.policies import load_policy
from safebench.policies.mapping import project
from safebench.strategies import Context, Judgements
from safebench.strategies.base import MATRICES, VECTORS
from safebench.strategies.questions import combine_questions, first_by_question

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.evidence import EvidenceBundle
    from safebench.specs import ClassifierSpec, StrategySpec
    from safebench.typing import Array

    from .evidence_set import Evaluation


VERDICT_FLOOR = 0.5  # below even odds a guard more often writes something else


NO_SCORE = "no score"  # the error of a sample whose score is NaN


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """Judgements on a dataset of B samples, with the decisions at a threshold.

    `decision` (B,) and `category_decision` (B, L) are float: 1, 0, NaN without a
    judgement. `failed` (B,) bool. `supported_threshold`: evidence that was cut short
    supports decisions at this threshold alone.
    """

    judgements: Judgements
    decision: Array | None
    category_decision: Array | None
    threshold: float
    failed: Array
    supported_threshold: float | None = None


def apply_strategy(evaluation: Evaluation) -> Predictions:
    """Return the strategy's judgements on every sample of the dataset.

    Raises `PluginError` if the strategy fails, or returns anything but one for each,
    of possible values.
    """
    strategy, evidence = evaluation.strategy, evaluation.evidence
    errors = list(trace_column(evidence.traces, "error"))
    # a sample that could not be recorded has placeholder evidence: nothing to read
    recorded = [row for row, error in enumerate(errors) if error is None]
    if recorded:
        judged = _judged_rows(evaluation, recorded)
        # whatever a strategy makes of it: there is no verdict to be judged
        for row, reason in zip(recorded, judged.unread, strict=True):
            errors[row] = reason
        judgements = _scatter(judged.judgements, recorded, errors)
    else:
        judgements = _all_failed(strategy.spec.emits, errors)
    failed = np.array([error is not None for error in judgements.errors], dtype=bool)
    # A strategy decides by its own rule, else by its threshold; one that only says how
    # sure it is takes over the decisions whose errors it is to find.
    if judgements.score is not None and strategy.threshold_decides:
        # The user's own threshold stands over both.
        judgements.decision = judgements.threshold = None
        judgements.decision_note = ""
    threshold = strategy.threshold
    if judgements.threshold is not None:
        threshold = judgements.threshold
    decision = judgements.decision
    if decision is None:
        decision = _apply_threshold(judgements.score, threshold, failed)
    if decision is None and strategy.decision_fallback is not None:
        fallback = evaluation.with_strategy(strategy.decision_fallback)
        decision = apply_strategy(fallback).decision
    categories = judgements.categories if judgements.categories_decide else None
    return Predictions(
        judgements=judgements,
        decision=decision,
        category_decision=_apply_threshold(categories, strategy.threshold, failed),
        threshold=threshold,
        failed=failed,
        supported_threshold=evidence.bundle.decisions_only_at,
    )


def apply_oracle_tuner(evaluation: Evaluation) -> Evaluation:
    """Return the evaluation with the strategy options that suit the test labels best.

    For strategies whose spec has an `oracle_tuner`, where the dataset has categories;
    others are returned as they are. It reproduces published numbers that were tuned so;
    `threshold_from` tells readers of the results.
    """
    strategy, dataset = evaluation.strategy, evaluation.dataset
    policy = evaluation.policy
    if not strategy.spec.oracle_tuner or policy is None or dataset.policy is None:
        return evaluation
    if not dataset.columns.annotated:
        return evaluation
    errors = trace_column(evaluation.evidence.traces, "error")
    rows = [
        row
        for row in np.flatnonzero(~evaluation.evaluation_set.held_out).tolist()
        if errors[row] is None and dataset.ground_truth[row].categories is not None
    ]
    if not rows:
        return evaluation
    annotated = [dataset.ground_truth[row] for row in rows]
    categories = project(annotated, load_policy(dataset.policy), policy).gold
    tune = strategy.spec.import_object(strategy.spec.oracle_tuner)
    bundle = evaluation.evidence.subset(rows)
    with unchanged(strategy.spec, bundle), isolated(strategy.spec):
        options = tune(bundle, _context(evaluation, rows), categories)
    return evaluation.with_strategy(replace(strategy, options=options))


def _context(evaluation: Evaluation, rows: Sequence[int]) -> Context:
    return Context(
        task=evaluation.dataset.task,
        policy=evaluation.policy,
        options=evaluation.strategy.options,
        written=_written(evaluation, rows),
    )


def _written(evaluation: Evaluation, rows: Sequence[int]) -> list[str | None]:
    texts = trace_column(evaluation.evidence.traces, "raw")
    if is_constant(texts):  # of guards that write nothing
        return [texts[0]] * len(rows)
    return [texts[row] for row in rows]


class JudgedRows(NamedTuple):
    """What a strategy says of some samples, and why no verdict was read of one."""

    judgements: Judgements
    unread: list[str | None]


def judged_key(
    evaluation: Evaluation, rows: Sequence[int] | Array
) -> tuple[int, bytes]:
    """Return the key in `EvidenceSet.judged` of a strategy's `JudgedRows`, or error."""
    # by the object, which its classifier keeps: two may have one label
    return id(evaluation.strategy), np.asarray(rows, dtype=np.int64).tobytes()


def _judged_rows(evaluation: Evaluation, rows: Sequence[int]) -> JudgedRows:
    evidence = evaluation.evidence
    known = evidence.judged.get(judged_key(evaluation, rows))
    if isinstance(known, Exception):
        raise known
    return known or judge_rows(evaluation, rows, evidence.subset(rows))


def judge_rows(
    evaluation: Evaluation, rows: Sequence[int], bundle: EvidenceBundle
) -> JudgedRows:
    """Return what a strategy says of samples, `rows`, of which `bundle` is."""
    judgements = _judge(evaluation, rows, bundle)
    return JudgedRows(judgements, _unread(evaluation, rows, bundle))


def _unread(
    evaluation: Evaluation, rows: Sequence[int], bundle: EvidenceBundle
) -> list[str | None]:
    """Say of samples why no verdict was read, None where one was.

    The floor is the strategy's option or 0.5: it holds for every strategy, those of
    other plugins included, which need not know of it.
    """
    options = evaluation.strategy.options
    floor = getattr(options, "verdict_floor", VERDICT_FLOOR)
    written = _written(evaluation, rows)
    questions = bundle.questions
    if questions:  # one text is known of the answers to all
        bundle = bundle.unfolded
        written = [None for _ in range(len(bundle))]
    reasons = bundle.unread(written, floor)
    if not getattr(options, "positive", ()):  # the user says which levels answer
        unanswered = bundle.unanswered(evaluation.dataset.task, floor)
        reasons = [a or b for a, b in zip(reasons, unanswered, strict=True)]
    return first_by_question(reasons, questions) if questions else reasons


def _all_failed(emits: frozenset[str], errors: list[str | None]) -> Judgements:
    """Return the judgements where every sample failed: columns without a number."""
    missing = np.full(len(errors), np.nan)
    return Judgements(
        size=len(errors),
        score=missing if "score" in emits else None,
        uncertainty=missing if "uncertainty" in emits else None,
        errors=errors,
    )


def _judge(
    evaluation: Evaluation, rows: Sequence[int], bundle: EvidenceBundle
) -> Judgements:
    """Return what the strategy says of some samples, checked."""
    spec = evaluation.strategy.spec
    judge = spec.code()
    context = _context(evaluation, rows)
    questions = () if spec.joins_questions else bundle.questions
    rule: Any = bundle.question_rule
    if questions:
        bundle, context = bundle.unfolded, replace(context, written=())
    _check_meta(evaluation.classifier.spec, bundle)
    reading = _Reading(spec, evaluation.classifier.spec)
    with unchanged(spec, bundle), isolated(reading):
        judgements: Judgements = judge(bundle, context)
    with isolated(spec):  # what it returned may be of a class of its own
        check_judgements(spec, judgements, len(bundle))
    if not questions:
        return judgements
    rule = rule or getattr(context.options, "combine", "max")
    return combine_questions(judgements, questions, context.policy, rule)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A strategy that reads a classifier's evidence: either may be at fault."""

    strategy: StrategySpec
    classifier: ClassifierSpec

    @property
    def described(self) -> str:
        """The strategy, and the classifier where another plugin's made the evidence."""
        if self.strategy.origin is self.classifier.origin:
            return self.strategy.described
        return f"{self.strategy.described}, reading {self.classifier.described}"


def _check_meta(spec: ClassifierSpec, bundle: EvidenceBundle) -> None:
    """Raise `PluginError` for evidence without the meta data that its kind has."""
    for kind, batch in bundle.items():
        problem = meta_problem(batch)
        if problem:
            raise PluginError(f"{spec.described}: {kind.__name__}: {problem}")


def _scatter(
    judgements: Judgements, rows: Sequence[int], errors: Sequence[str | None]
) -> Judgements:
    """Put the judgements of `rows` back among all samples; NaN for the others."""
    size = len(errors)
    merged = list(errors)
    for row, error in zip(rows, _errors_with_missing_scores(judgements), strict=True):
        merged[row] = merged[row] or error
    failed = np.array([merged[row] is not None for row in rows], dtype=bool)
    columns: dict[str, Array] = {}
    for name in (*VECTORS, *MATRICES):
        column = getattr(judgements, name)
        if column is not None:
            full = np.full((size, *column.shape[1:]), np.nan)
            # what a strategy says of a sample beside an error is no judgement
            full[rows] = np.where(_as_rows(failed, column.ndim), np.nan, column)
            columns[name] = full
    return Judgements(
        size=size,
        labels=judgements.labels,
        errors=merged,
        probability=judgements.probability,
        categories_decide=judgements.categories_decide,
        threshold=judgements.threshold,
        note=judgements.note,
        decision_note=judgements.decision_note,
        category_note=judgements.category_note,
        **columns,
    )


def _errors_with_missing_scores(judgements: Judgements) -> list[str | None]:
    """Return the errors, a score that is missing without one counted as such."""
    if judgements.score is None:
        return judgements.errors
    missing = np.isnan(judgements.score)
    return [
        error or (NO_SCORE if missing[row] else None)
        for row, error in enumerate(judgements.errors)
    ]


def _apply_threshold(
    values: Array | None, threshold: float, failed: Array
) -> Array | None:
    if values is None:
        return None
    # NaN >= threshold would be False, which reads as "safe"
    known = ~np.isnan(values) & ~_as_rows(failed, values.ndim)
    return np.where(known, values >= threshold, np.nan)


def _as_rows(flags: Array, ndim: int) -> Array:
    """Return flags of samples (B,) shaped to select rows of an array of `ndim`."""
    return flags.reshape(-1, *[1] * (ndim - 1))


# on the scale of the score; an uncertainty has a scale of its own
_ON_SCORE_SCALE = ("score", "lower", "upper", *MATRICES)
_BOUNDS = (
    ("lower", "upper"),
    ("category_lower", "category_upper"),
    ("uncertainty_lower", "uncertainty_upper"),
)


def check_judgements(spec: StrategySpec, judgements: Any, size: int) -> None:
    """Raise `PluginError` unless these are judgements of `size` samples."""
    if not isinstance(judgements, Judgements):
        returned = "None" if judgements is None else f"a {type(judgements).__name__}"
        _refuse(spec, f"returned no judgements but {returned}")
    if judgements.size != size:
        _refuse(spec, f"returned {judgements.size} of {size} judgements")
    _check_words(spec, judgements)
    for name in VECTORS:
        _check_column(spec, name, getattr(judgements, name), (size,))
    for name in MATRICES:
        shape = (size, len(judgements.labels))
        _check_column(spec, name, getattr(judgements, name), shape)
    _check_values(spec, judgements)


def _check_words(spec: StrategySpec, judgements: Judgements) -> None:
    """Refuse errors, labels and a note that are no texts."""
    errors, labels = judgements.errors, judgements.labels
    if not isinstance(errors, (list, tuple)) or len(errors) != judgements.size:
        _refuse(spec, f"errors are no list of {judgements.size}")
    for error in errors:
        if error is not None and not isinstance(error, str):
            _refuse(
                spec, f"an error is a {type(error).__name__}, neither text nor None"
            )
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        _refuse(spec, "labels are no list of texts")
    if len(set(labels)) < len(labels):
        _refuse(spec, "a label stands twice among the labels")
    for note in (judgements.note, judgements.decision_note, judgements.category_note):
        if not isinstance(note, str):
            _refuse(spec, f"the note is a {type(note).__name__}")


def _check_column(
    spec: StrategySpec, name: str, column: Any, shape: tuple[int, ...]
) -> None:
    if column is None:
        return
    if not isinstance(column, np.ndarray) or isinstance(column, np.ma.MaskedArray):
        _refuse(spec, f"{name} is a {type(column).__name__}, not a numpy array")
    if column.shape != shape:
        _refuse(spec, f"{name} has shape {column.shape}, not {shape}")
    if column.dtype.kind not in "biuf":
        _refuse(spec, f"{name} is an array of {column.dtype}, not of real numbers")


def _check_values(spec: StrategySpec, judgements: Judgements) -> None:
    """Refuse probabilities outside [0, 1], decisions that are none, crossed bounds."""
    judged = np.array([error is None for error in judgements.errors], dtype=bool)
    if judgements.decision is not None:
        decided = judgements.decision[judged]
        wrong = decided[~(np.isnan(decided) | (decided == 0) | (decided == 1))]
        if wrong.size:
            _refuse(spec, f"a decision is {wrong[0]:.6g}, neither 0 nor 1")
    if "probability" in spec.emits and judgements.probability:
        for name in _ON_SCORE_SCALE:
            column = getattr(judgements, name)
            # Of judged samples alone: a failed one holds whatever the strategy left
            # there.
            outside = None if column is None else outside_unit(column[judged])
            if outside is not None:
                _refuse(spec, f"{name} holds a probability of {outside}")
    for low_name, high_name in _BOUNDS:
        low, high = getattr(judgements, low_name), getattr(judgements, high_name)
        if low is None or high is None:
            continue
        crossed = low[judged] > high[judged] + TOLERANCE * (1 + abs(high[judged]))
        if crossed.any():
            _refuse(spec, f"{low_name} is above {high_name}")


def _refuse(spec: StrategySpec, what: str) -> NoReturn:
    raise PluginError(f"{spec.described}: {what}")


@contextmanager
def unchanged(spec: StrategySpec, bundle: EvidenceBundle) -> Iterator[None]:
    """Put evidence back as it was if a strategy changes it, and refuse the strategy.

    The arrays are read-only; their names and the meta data are Python's.
    """
    before = {
        kind: (dict(batch.arrays), dict(batch.offsets), deepcopy(batch.meta))
        for kind, batch in bundle.items()
    }
    changed = []
    try:
        yield
    finally:
        for kind, batch in bundle.items():
            if kind not in before:
                continue  # derived meanwhile
            arrays, offsets, meta = before[kind]
            now = (batch.arrays, batch.offsets)
            same = all(map(_same_arrays, now, (arrays, offsets)))
            if not same or batch.meta != meta:
                changed.append(kind.__name__)
            batch.arrays, batch.offsets, batch.meta = arrays, offsets, meta
    if changed:
        _refuse(spec, f"changed the evidence that it reads ({', '.join(changed)})")


def _same_arrays(now: Any, before: dict[str, Any]) -> bool:
    return (
        isinstance(now, dict)
        and now.keys() == before.keys()
        and all(now[name] is before[name] for name in before)
    )
