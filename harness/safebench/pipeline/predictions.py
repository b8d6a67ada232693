"""Stored predictions: what a run writes about each sample and strategy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.datasets.sample_columns import stored_columns
from safebench.datasets.spooled_records import without_texts
from safebench.evidence.trace_columns import TraceColumns, is_constant, trace_column
from safebench.record_columns import UNKNOWN
from safebench.redaction import redact_text
from safebench.results.line_columns import (
    Constant,
    LineColumns,
    Varying,
    json_text,
    one_of,
)

from .metric_input import drop_unsupported, project_categories, severity_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.evidence.recording import Trace
    from safebench.records import Dataset
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


def prediction_columns(evaluation: Evaluation, predictions: Predictions) -> LineColumns:
    """Return one prediction a sample, failed ones included, in dataset order.

    A line holds what metrics read, and nothing that they may not read: of evidence that
    was cut short at one threshold it has decisions and bounds, but no score.
    """
    classifier, dataset = evaluation.classifier, evaluation.dataset
    bounds = predictions.judgements
    predictions = drop_unsupported(predictions)
    judgements = predictions.judgements
    claims_probability = (
        "probability" in evaluation.strategy.spec.emits and judgements.probability
    )
    of_samples = dataset.columns
    traces = evaluation.evidence.traces
    held_out = evaluation.evaluation_set.held_out
    fields: dict[str, Constant | Varying] = {
        "id": Varying(lambda: of_samples.ids),
        "content": Varying(of_samples.hex_contents),
        "group": Varying(lambda: of_samples.groups),
        "strategy": Constant(evaluation.strategy.label),
        "classifier": Constant(classifier.label),
        "model": Constant(classifier.model),
        "dataset": Constant(dataset.name),
        "config": Constant(dataset.config),
        "split": Constant(dataset.split),
        # all are kept: `analyze --part calibration`, thresholds fitted later
        "part": one_of(_PARTS, held_out.tolist),
        "task": Constant(dataset.task),
        "policy": Constant(classifier.policy),
        "score": number_field(judgements.score),
        "lower": number_field(bounds.lower),
        "upper": number_field(bounds.upper),
        "probability": Constant(claims_probability and judgements.score is not None),
        "uncertainty": number_field(judgements.uncertainty),
        "uncertainty_lower": number_field(judgements.uncertainty_lower),
        "uncertainty_upper": number_field(judgements.uncertainty_upper),
        "categories": cell_field(predictions, judgements.categories),
        "category_lower": cell_field(predictions, judgements.category_lower),
        "category_upper": cell_field(predictions, judgements.category_upper),
        "predicted_categories": category_field(predictions),
        "decision": decision_field(predictions.decision),
        "threshold": Constant(json_number(predictions.threshold)),
        "label": one_of(_VALUES, of_samples.value.tolist),
        **_truths(evaluation, judgements),
        "tokens_in": trace_field(traces, "tokens_in"),
        "tokens_dropped": trace_field(traces, "tokens_dropped"),
        "error": error_field(judgements.errors),
        "raw": trace_field(traces, "raw"),
    }
    columns = _sample_columns(dataset)
    if columns is not None:  # as in versions that stored none
        fields["columns"] = columns
    return LineColumns(fields, len(dataset))


_PARTS = {False: "test", True: "calibration"}
_VALUES = {1: True, 0: False, UNKNOWN: None}
_AT_ONCE = 4096  # numbers that are Python's at one time


def number_field(column: Array | None) -> Constant | Varying:
    """Return a field of numbers (n,), null for NaN and where there is no column."""
    return Constant(None) if column is None else _converted(column, json_number)


def decision_field(decision: Array | None) -> Constant | Varying:
    """Return a field of decisions (n,) of 1 and 0, null for NaN."""
    if decision is None:
        return Constant(None)
    return _converted(decision, lambda v: None if math.isnan(v) else bool(v))


def _converted(column: Array, convert: Callable[[float], Any]) -> Varying:
    """Return a field of what `convert` makes of each number of a column (n,)."""

    def values(of: Callable[[float], Any]) -> Iterator[Any]:
        for first in range(0, len(column), _AT_ONCE):
            numbers = np.asarray(column[first : first + _AT_ONCE], dtype=np.float64)
            # Guards say few different numbers, or all of them are different. By their
            # bits: -0.0 is not 0.0, and NaN is like itself.
            bits, places = np.unique(numbers.view(np.int64), return_inverse=True)
            known = list(map(of, bits.view(np.float64).tolist()))
            yield from map(known.__getitem__, places.tolist())

    return Varying(
        lambda: values(convert), lambda: values(lambda v: json_text(convert(v)))
    )


def error_field(errors: Sequence[str | None]) -> Constant | Varying:
    """Return the reasons why samples have no judgement, without secrets."""
    if not any(errors):
        return Constant(None)
    return Varying(lambda: (None if e is None else redact_text(e) for e in errors))


def trace_field(traces: Sequence[Trace], name: str) -> Constant | Varying:
    """Return a field of the traces."""
    column = trace_column(traces, name) if isinstance(traces, TraceColumns) else None
    if column is not None and is_constant(column):
        return Constant(column[0])
    return Varying(lambda: trace_column(traces, name))


def _truths(
    evaluation: Evaluation, judgements: Judgements
) -> dict[str, Constant | Varying]:
    """Return what the dataset says of its samples beside their labels."""
    dataset = evaluation.dataset
    has, truths = dataset.columns, dataset.ground_truth
    none = Constant(None)
    projected = _category_truth(evaluation, judgements)
    return {
        "gold_categories": Varying(
            lambda: (
                None if t.categories is None else sorted(t.categories) for t in truths
            )
        )
        if has.annotated
        else none,
        "category_truth": none
        if projected is None
        else Varying(
            lambda: (
                _truth_at(judgements.labels, projected, row)
                for row in range(len(dataset))
            )
        ),
        "pair": Varying(lambda: (t.pair and t.pair[0] for t in truths))
        if has.paired
        else none,
        "pair_side": Varying(lambda: (t.pair and t.pair[1] for t in truths))
        if has.paired
        else none,
        "severity": Varying(lambda: map(severity_of, truths)) if has.rated else none,
    }


def _sample_columns(dataset: Dataset) -> Varying | None:
    """Return what came along with the samples, None where nothing did."""
    n_turns = dataset.columns.n_turns
    same_turns = bool((n_turns == n_turns[:1]).all())
    if not dataset.columns.described and same_turns:
        return None

    def rows() -> Iterator[dict[str, Any]]:
        pairs = zip(without_texts(dataset), dataset.ground_truth, strict=True)
        return stored_columns(pairs, without_turns=same_turns)

    return Varying(rows) if any(rows()) else None


def _category_truth(
    evaluation: Evaluation, judgements: Judgements
) -> CategoryTruth | None:
    """Return the truth in the strategy's categories, None where nobody can say it."""
    dataset = evaluation.dataset
    if judgements.categories is None or not dataset.columns.annotated:
        return None
    truths = list(dataset.ground_truth)
    if all(t.categories is None for t in truths):
        return None
    truth = project_categories(evaluation, judgements.labels, truths)
    return None if isinstance(truth, str) else truth


def cell_field(predictions: Predictions, cells: Array | None) -> Constant | Varying:
    """Return the numbers of a sample's categories by code; null for a failed one."""
    # none at all for a failed sample: a mapping of nulls would look like an answer
    if cells is None:
        return Constant(None)
    labels = predictions.judgements.labels
    return Varying(
        lambda: (
            None
            if failed
            else dict(zip(labels, map(json_number, row.tolist()), strict=True))
            for failed, row in zip(predictions.failed, cells, strict=True)
        )
    )


def category_field(predictions: Predictions) -> Constant | Varying:
    """Return the categories on the unsafe side of the threshold; None: not decided."""
    decided = predictions.category_decision
    if decided is None:
        return Constant(None)
    labels = predictions.judgements.labels
    return Varying(
        lambda: (
            None
            if failed
            else [code for code, flag in zip(labels, row, strict=True) if flag == 1]
            for failed, row in zip(predictions.failed, decided, strict=True)
        )
    )


def _truth_at(
    labels: Sequence[str], truth: CategoryTruth, row: int
) -> dict[str, bool | None]:
    """Return whether each category applies, None where that is not known."""
    cells = zip(labels, truth.gold[row], truth.known[row], strict=True)
    return {code: bool(gold) if known else None for code, gold, known in cells}
