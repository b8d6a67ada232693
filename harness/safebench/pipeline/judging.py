"""Judging: a strategy reads stored evidence, and a failed sample stays in its place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from safebench.isolation import isolated
from safebench.policies import load_policy, project
from safebench.strategies import Context, Judgements

from .judgement_checks import MATRICES, VECTORS, check_judgements, unchanged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .evaluation import Evaluation

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
    errors = [trace.error for trace in evidence.traces]
    # a sample that could not be recorded has placeholder evidence: nothing to read
    recorded = [row for row, error in enumerate(errors) if error is None]
    if recorded:
        judgements = _judge(evaluation, recorded)
        # whatever a strategy makes of it: there is no verdict to be judged
        for row, reason in zip(recorded, _unread(evaluation, recorded), strict=True):
            errors[row] = reason
        judgements = _scatter(judgements, recorded, errors)
    else:
        judgements = _all_failed(strategy.spec.emits, errors)
    failed = np.array([error is not None for error in judgements.errors], dtype=bool)
    # A strategy decides by its own rule, else by its threshold; one that only says how
    # sure it is takes over the decisions whose errors it is to find.
    if judgements.score is not None and strategy.threshold != strategy.spec.threshold:
        # The user's own threshold stands over both.
        judgements.decision = judgements.threshold = None
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
        written=[evaluation.evidence.traces[row].raw for row in rows],
    )


def _unread(evaluation: Evaluation, rows: Sequence[int]) -> list[str | None]:
    """Say of samples why no verdict was read, None where one was.

    The floor is the strategy's option or 0.5: it holds for every strategy, those of
    other plugins included, which need not know of it.
    """
    options = evaluation.strategy.options
    floor = getattr(options, "verdict_floor", VERDICT_FLOOR)
    written = [evaluation.evidence.traces[row].raw for row in rows]
    return evaluation.evidence.subset(rows).unread(written, floor)


def _all_failed(emits: frozenset[str], errors: list[str | None]) -> Judgements:
    """Return the judgements where every sample failed: columns without a number."""
    missing = np.full(len(errors), np.nan)
    return Judgements(
        size=len(errors),
        score=missing if "score" in emits else None,
        uncertainty=missing if "uncertainty" in emits else None,
        errors=errors,
    )


def _judge(evaluation: Evaluation, rows: Sequence[int]) -> Judgements:
    """Return what the strategy says of some samples, checked."""
    spec = evaluation.strategy.spec
    judge = spec.code()
    bundle = evaluation.evidence.subset(rows)
    with unchanged(spec, bundle), isolated(spec):
        judgements: Judgements = judge(bundle, _context(evaluation, rows))
    with isolated(spec):  # what it returned may be of a class of its own
        check_judgements(spec, judgements, len(rows))
    return judgements


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
