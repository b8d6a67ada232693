"""Judging: a strategy reads stored evidence, and a failed sample stays in its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import SafebenchError
from safebench.lazy import import_object
from safebench.policies import load_policy, project
from safebench.strategies import Context, Judgements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .evaluation import Evaluation

JUDGEMENT_COLUMNS = (
    "score",
    "lower",
    "upper",
    "categories",
    "category_lower",
    "category_upper",
    "uncertainty",
    "uncertainty_lower",
    "uncertainty_upper",
    "decision",
)


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

    Raises `SafebenchError` if the strategy returns anything but one for each.
    """
    strategy, evidence = evaluation.strategy, evaluation.evidence
    errors = [trace.error for trace in evidence.traces]
    # a sample that could not be recorded has placeholder evidence: nothing to read
    recorded = [row for row, error in enumerate(errors) if error is None]
    if recorded:
        judgements = strategy.spec.code()(
            evidence.subset(recorded), _context(evaluation)
        )
        _check_judgements(strategy.label, judgements, len(recorded))
        judgements = _scatter(judgements, recorded, errors)
    else:
        judgements = _all_failed(strategy.spec.emits, errors)
    failed = np.array([error is not None for error in judgements.errors], dtype=bool)
    # A strategy decides by its own rule, else by its threshold; one that only says how
    # sure it is takes over the decisions whose errors it is to find.
    decision = judgements.decision
    if decision is None:
        decision = _apply_threshold(judgements.score, strategy.threshold, failed)
    if decision is None and strategy.decision_fallback is not None:
        fallback = evaluation.with_strategy(strategy.decision_fallback)
        decision = apply_strategy(fallback).decision
    categories = judgements.categories if judgements.categories_decide else None
    return Predictions(
        judgements=judgements,
        decision=decision,
        category_decision=_apply_threshold(categories, strategy.threshold, failed),
        threshold=strategy.threshold,
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
    calibration_ids = evaluation.evaluation_set.calibration_ids
    rows = [
        row
        for row, (sample, truth) in enumerate(
            zip(dataset.samples, dataset.ground_truth, strict=True)
        )
        if sample.id not in calibration_ids
        and truth.categories is not None
        and evaluation.evidence.traces[row].error is None
    ]
    if not rows:
        return evaluation
    annotated = [dataset.ground_truth[row] for row in rows]
    categories = project(annotated, load_policy(dataset.policy), policy).gold
    tune = import_object(strategy.spec.oracle_tuner)
    options = tune(evaluation.evidence.subset(rows), _context(evaluation), categories)
    return evaluation.with_strategy(replace(strategy, options=options))


def _context(evaluation: Evaluation) -> Context:
    return Context(
        task=evaluation.dataset.task,
        policy=evaluation.policy,
        options=evaluation.strategy.options,
    )


def _all_failed(emits: frozenset[str], errors: list[str | None]) -> Judgements:
    """Return the judgements where every sample failed: columns without a number."""
    missing = np.full(len(errors), np.nan)
    return Judgements(
        size=len(errors),
        score=missing if "score" in emits else None,
        uncertainty=missing if "uncertainty" in emits else None,
        errors=errors,
    )


def _check_judgements(label: str, judgements: Any, size: int) -> None:
    valid = isinstance(judgements, Judgements)
    if not valid or judgements.size != size:
        count = f"{judgements.size} of {size}" if valid else "no"
        raise SafebenchError(f"strategy {label!r} returned {count} judgements")


def _scatter(
    judgements: Judgements, rows: Sequence[int], errors: Sequence[str | None]
) -> Judgements:
    """Put the judgements of `rows` back among all samples; NaN for the others."""
    size = len(errors)
    merged = list(errors)
    for row, error in zip(rows, _errors_with_missing_scores(judgements), strict=True):
        merged[row] = error
    failed = np.array([merged[row] is not None for row in rows], dtype=bool)
    columns: dict[str, Array] = {}
    for name in JUDGEMENT_COLUMNS:
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
        note=judgements.note,
        **columns,
    )


def _errors_with_missing_scores(judgements: Judgements) -> list[str | None]:
    """Return the errors, a score that is missing without one counted as such."""
    if judgements.score is None:
        return judgements.errors
    missing = np.isnan(judgements.score)
    return [
        error or ("no score" if missing[row] else None)
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
