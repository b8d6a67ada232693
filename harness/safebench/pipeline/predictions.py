"""Stored predictions: what a run writes about each sample and strategy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from safebench.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.typing import Array

    from .evaluation import Evaluation
    from .judging import Predictions

SIGNIFICANT_DIGITS = 6  # what float32 evidence can carry


def round_significant(value: float | None) -> float | None:
    """Round to 6 significant digits; NaN becomes None, infinity stays a big number.

    JSON has neither; -1e308 and 1e308 keep the order of scores.
    """
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return math.copysign(1e308, value)
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def prediction_rows(
    evaluation: Evaluation, predictions: Predictions
) -> Iterator[dict[str, Any]]:
    """Yield one prediction a sample, failed ones included, in dataset order."""
    classifier, dataset = evaluation.classifier, evaluation.dataset
    calibration_ids = evaluation.evaluation_set.calibration_ids
    judgements = predictions.judgements
    rows = zip(
        dataset.samples,
        dataset.ground_truth,
        evaluation.evidence.traces,
        judgements.errors,
        strict=True,
    )
    for row, (sample, truth, trace, error) in enumerate(rows):
        yield {
            "id": sample.id,
            "content": sample.content,
            "group": sample.group,
            "strategy": evaluation.strategy.label,
            "classifier": classifier.label,
            "model": classifier.model,
            "dataset": dataset.name,
            "config": dataset.config,
            "split": dataset.split,
            # all are kept: `analyze --part calibration`, thresholds fitted later
            "part": "calibration" if sample.id in calibration_ids else "test",
            "task": dataset.task,
            "policy": classifier.policy,
            "score": _value_at(judgements.score, row),
            "lower": _value_at(judgements.lower, row),
            "upper": _value_at(judgements.upper, row),
            "uncertainty": _value_at(judgements.uncertainty, row),
            "categories": _categories_at(predictions, row),
            "decision": _decision_at(predictions, row),
            "label": truth.label.value,
            "gold_categories": (
                None if truth.categories is None else sorted(truth.categories)
            ),
            "tokens_in": trace.tokens_in,
            "tokens_dropped": trace.tokens_dropped,
            "error": None if error is None else redact_text(error),
            "raw": trace.raw,
        }


def _value_at(column: Array | None, row: int) -> float | None:
    return None if column is None else round_significant(float(column[row]))


def _categories_at(
    predictions: Predictions, row: int
) -> dict[str, float | None] | None:
    judgements = predictions.judgements
    # none at all for a failed sample: a mapping of nulls would look like an answer
    if judgements.categories is None or predictions.failed[row]:
        return None
    scores = judgements.categories[row].tolist()
    return {
        code: round_significant(score)
        for code, score in zip(judgements.labels, scores, strict=True)
    }


def _decision_at(predictions: Predictions, row: int) -> bool | None:
    if predictions.decision is None or math.isnan(predictions.decision[row]):
        return None
    return bool(predictions.decision[row])
