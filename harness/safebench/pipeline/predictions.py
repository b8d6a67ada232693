"""Stored predictions: what a run writes about each sample and strategy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from safebench.datasets.sample_columns import stored_columns
from safebench.redaction import redact_text

from .metric_input import drop_unsupported, project_categories, severity_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.strategies import Judgements
    from safebench.typing import Array

    from .evidence_set import Evaluation
    from .judging import Predictions
    from .metric_input import CategoryTruth

INFINITE = 1e308  # what stands for an infinite score


def json_number(value: float | None) -> float | None:
    """Return a double for JSON, NaN as None.

    Python writes the shortest text that is read back as the same double, so that what
    is computed from a file is what was computed before it was written. JSON has no
    infinity; -1e308 and 1e308 keep the order of scores.
    """
    if value is None or math.isnan(value):
        return None
    return math.copysign(INFINITE, value) if math.isinf(value) else float(value)


def prediction_rows(
    evaluation: Evaluation, predictions: Predictions
) -> Iterator[dict[str, Any]]:
    """Yield one prediction a sample, failed ones included, in dataset order.

    A line holds what metrics read, and nothing that they may not read: of evidence that
    was cut short at one threshold it has decisions and bounds, but no score.
    """
    classifier, dataset = evaluation.classifier, evaluation.dataset
    calibration_ids = evaluation.evaluation_set.calibration_ids
    bounds = predictions.judgements
    predictions = drop_unsupported(predictions)
    judgements = predictions.judgements
    category_truth = _category_truth(evaluation, judgements)
    claims_probability = (
        "probability" in evaluation.strategy.spec.emits and judgements.probability
    )
    pairs = list(zip(dataset.samples, dataset.ground_truth, strict=True))
    columns = stored_columns(pairs)
    any_columns = any(columns)
    rows = zip(
        dataset.samples,
        dataset.ground_truth,
        evaluation.evidence.traces,
        judgements.errors,
        strict=True,
    )
    for row, (sample, truth, trace, error) in enumerate(rows):
        pair_id, side = truth.pair or (None, None)
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
            "lower": _value_at(bounds.lower, row),
            "upper": _value_at(bounds.upper, row),
            "probability": claims_probability and judgements.score is not None,
            "uncertainty": _value_at(judgements.uncertainty, row),
            "uncertainty_lower": _value_at(judgements.uncertainty_lower, row),
            "uncertainty_upper": _value_at(judgements.uncertainty_upper, row),
            "categories": _cells_at(predictions, judgements.categories, row),
            "category_lower": _cells_at(predictions, judgements.category_lower, row),
            "category_upper": _cells_at(predictions, judgements.category_upper, row),
            "predicted_categories": _predicted_categories(predictions, row),
            "decision": _decision_at(predictions, row),
            "threshold": json_number(predictions.threshold),
            "label": truth.label.value,
            "gold_categories": (
                None if truth.categories is None else sorted(truth.categories)
            ),
            "category_truth": _truth_at(judgements.labels, category_truth, row),
            "pair": pair_id,
            "pair_side": side,
            "severity": severity_of(truth),
            "tokens_in": trace.tokens_in,
            "tokens_dropped": trace.tokens_dropped,
            "error": None if error is None else redact_text(error),
            "raw": trace.raw,
            # as in versions that stored none
            **({"columns": columns[row]} if any_columns else {}),
        }


def _value_at(column: Array | None, row: int) -> float | None:
    return None if column is None else json_number(float(column[row]))


def _category_truth(
    evaluation: Evaluation, judgements: Judgements
) -> CategoryTruth | None:
    """Return the truth in the strategy's categories, None where nobody can say it."""
    truths = evaluation.dataset.ground_truth
    if judgements.categories is None or all(t.categories is None for t in truths):
        return None
    truth = project_categories(evaluation, judgements.labels, truths)
    return None if isinstance(truth, str) else truth


def _cells_at(
    predictions: Predictions, cells: Array | None, row: int
) -> dict[str, float | None] | None:
    # none at all for a failed sample: a mapping of nulls would look like an answer
    if cells is None or predictions.failed[row]:
        return None
    labels = predictions.judgements.labels
    return dict(zip(labels, map(json_number, cells[row].tolist()), strict=True))


def _predicted_categories(predictions: Predictions, row: int) -> list[str] | None:
    """Return the categories on the unsafe side of the threshold; None: not decided."""
    decided = predictions.category_decision
    if decided is None or predictions.failed[row]:
        return None
    labels = predictions.judgements.labels
    return [code for code, flag in zip(labels, decided[row], strict=True) if flag == 1]


def _truth_at(
    labels: Sequence[str], truth: CategoryTruth | None, row: int
) -> dict[str, bool | None] | None:
    """Return whether each category applies, None where that is not known."""
    if truth is None:
        return None
    cells = zip(labels, truth.gold[row], truth.known[row], strict=True)
    return {code: bool(gold) if known else None for code, gold, known in cells}


def _decision_at(predictions: Predictions, row: int) -> bool | None:
    if predictions.decision is None or math.isnan(predictions.decision[row]):
        return None
    return bool(predictions.decision[row])
