"""Result rows: the metrics of one evaluation, with what they were measured on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.evidence.trace_columns import trace_column
from safebench.metrics.compute import compute, dataset_supports
from safebench.provenance import provenance_fields
from safebench.results import Row
from safebench.results.latency import latency_rows
from safebench.results.rows import interval_fields, joined_notes
from safebench.specs import NO_THRESHOLD

from .latency import how_measured, measured_samples
from .metric_input import build_empty_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.classifiers import Trace
    from safebench.errors import SafebenchError
    from safebench.metrics import MetricValue
    from safebench.records import Dataset
    from safebench.specs import MetricSpec
    from safebench.statistics import Interval
    from safebench.typing import Array

    from .evaluation_set import EvaluationSet
    from .evidence_set import Evaluation
    from .judging import Predictions
    from .metric_input import MetricInput
    from .resolved import ResolvedClassifier, ResolvedStrategy


def result_rows(
    run: str,
    evaluation: Evaluation,
    predictions: Predictions,
    metric_input: MetricInput,
    metrics: Sequence[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None = None,
) -> list[Row]:
    """Return one row a metric, about the test part.

    A metric that fails is null with a note, and `on_error` is called with the reason.
    """
    from safebench.metrics.intervals import sampling_intervals

    outcome, evidence = metric_input.outcome, evaluation.evidence
    n_failed = int(outcome.failed.sum())
    dropped = np.array(list(trace_column(evidence.traces, "tokens_dropped")))
    paid = evidence.paid_traces(evaluation.dataset, metric_input.rows)
    shared = {
        "run": run,
        **_combination_fields(
            evaluation.classifier, evaluation.strategy, evaluation.evaluation_set
        ),
        "policy_map": metric_input.policy_map,
        "n": outcome.n,
        "n_pos": int(outcome.y.sum()),
        "n_neg": int((~outcome.y).sum()),
        "n_failed": n_failed,
        "threshold": predictions.threshold,
        "evidence_key": evidence.key,
        **provenance_fields(),
        "peak_memory_mib": evidence.peak_memory_mib,
        "n_conflicting": _count_conflicting(evaluation.dataset, metric_input.rows),
        "n_truncated": int((dropped[metric_input.rows] > 0).sum()),
        "cost_shared_with": evidence.shared_with(evaluation.dataset, metric_input.rows)
        or None,
        **_cost_fields(paid, evidence.facts, evidence.n_workers),
    }
    values = compute(outcome, metrics, on_error)
    # An undefined value has no interval, and would cost its resamples.
    known = [spec for spec, value in values if value.value is not None]
    intervals = sampling_intervals(outcome, known, on_error)
    # a metric says so itself where it rests on other samples than those judged
    n_judged = outcome.n - n_failed
    return [
        Row(
            **shared,
            **interval_fields(value.value, intervals.get(spec.name)),
            metric=spec.name,
            value=value.value,
            bound_low=value.bound_low,
            bound_high=value.bound_high,
            higher_is_better=spec.higher_is_better,
            n_scored=n_judged if value.n_scored is None else value.n_scored,
            note=joined_notes(
                _note(spec, value, intervals.get(spec.name), predictions),
                *evidence.notes,
            ),
        )
        for spec, value in values
    ] + _latency_rows(shared, evaluation, metric_input.rows)


def _latency_rows(
    shared: dict[str, Any], evaluation: Evaluation, rows: Array
) -> list[Row]:
    """Return the percentiles of latency if any of the `rows` was measured."""
    samples = evaluation.dataset.samples
    measured = measured_samples(evaluation.evidence, samples, rows)
    return latency_rows(shared, measured, how_measured()) if measured else []


def _count_conflicting(dataset: Dataset, rows: Array) -> int:
    """Count the samples of which another one has the same text and another label."""
    columns = dataset.columns
    codes, values = columns.content_codes[rows], columns.value[rows]
    seen = np.zeros((int(columns.content_codes.max(initial=-1)) + 1, 3), dtype=bool)
    seen[codes, values] = True
    return int((seen.sum(axis=1) > 1)[codes].sum())


def failed_rows(
    run: str,
    classifier: ResolvedClassifier,
    strategy: ResolvedStrategy,
    evaluation_set: EvaluationSet,
    metrics: Sequence[MetricSpec],
    *,
    reason: str,
    evidence_key: str | None,
) -> list[Row]:
    """Return the rows of a part whose code failed: no value, and the reason as note.

    One for each metric that the dataset has the truth for; `evidence_key` is None where
    it never became known.
    """
    outcome = build_empty_outcome(evaluation_set, reason)
    shared = {
        "run": run,
        **_combination_fields(classifier, strategy, evaluation_set),
        "n": outcome.n,
        "n_pos": int(outcome.y.sum()),
        "n_neg": int((~outcome.y).sum()),
        "evidence_key": evidence_key,
        **provenance_fields(),
    }
    return [
        Row(
            **shared,
            metric=spec.name,
            value=None,
            higher_is_better=spec.higher_is_better,
            n_scored=0,
            note=reason,
        )
        for spec in metrics
        if dataset_supports(outcome, spec)
    ]


def _threshold_from(strategy: ResolvedStrategy) -> str:
    """Return where decisions come from: a threshold stands over a rule of its own."""
    source = strategy.spec.threshold_from
    by_rule = source.startswith(NO_THRESHOLD)
    return "fixed" if by_rule and strategy.threshold_decides else source


def _combination_fields(
    classifier: ResolvedClassifier,
    strategy: ResolvedStrategy,
    evaluation_set: EvaluationSet,
) -> dict[str, Any]:
    """Return what is measured on what."""
    dataset = evaluation_set.dataset
    return {
        "classifier": classifier.label,
        "model": classifier.model,
        "revision": classifier.identity.get("revision"),
        "strategy": strategy.label,
        "params": strategy.params,
        "threshold_from": _threshold_from(strategy),
        "dataset": dataset.name,
        "config": dataset.config,
        "split": dataset.split,
        "part": "test",
        "task": dataset.task,
        "pack": ", ".join(used.pack.name for used in evaluation_set.packs) or None,
        "pack_missing": _missing_sets(evaluation_set),
        "policy": classifier.policy,
        "data_hash": dataset.data_hash,
        "split_hash": split_hash(evaluation_set.calibration_ids),
        "contaminated": is_contaminated(classifier, dataset.contaminates),
        "licence": dataset.licence or None,
        "mix": dataset.mix or None,
    }


def _missing_sets(evaluation_set: EvaluationSet) -> str | None:
    """Return the sets of its packs that a run was made without; None: of none."""
    sets = dict.fromkeys(text for used in evaluation_set.packs for text in used.missing)
    return ", ".join(sets) or None


def _note(
    spec: MetricSpec,
    value: MetricValue,
    interval: Interval | None,
    predictions: Predictions,
) -> str:
    """Return a metric's note, with those of its interval and of the judgements.

    Evidence that was cut short explains what is missing.
    """
    threshold = predictions.supported_threshold
    if value.value is None and threshold is not None:
        return f"evidence was grown for decisions at {threshold} alone"
    notes = [value.note]
    if "categories" in spec.needs:
        notes.append(predictions.judgements.category_note)
    if value.value is not None and interval is not None:
        notes.append(interval.note)
    # a metric may say the same of its own accord, in its own words
    judgements = predictions.judgements
    if not any(judgements.note in note for note in notes):
        notes.append(judgements.note)
    return joined_notes(*notes, judgements.decision_note)


def _cost_fields(
    traces: Sequence[Trace], facts: dict[str, Any], n_workers: int
) -> dict[str, Any]:
    """Return what the samples cost when their evidence was recorded.

    `traces` are those of the test part alone, what n counts, and of each recording
    once: a sample that shares its evidence with another costs nothing. Seconds of
    `n_workers` side by side are added up, and each was slowed down by the others: so
    the mode says it, and such times are compared with their like alone.
    """
    seconds = sum(trace_column(traces, "seconds"))
    forward_passes = sum(trace_column(traces, "forward_passes"))
    tokens = sum(trace_column(traces, "tokens_in")) + sum(
        trace_column(traces, "tokens_out")
    )
    return {
        "seconds": round(seconds, 4),
        # Where other datasets paid for all evidence there is no speed to tell.
        "samples_per_second": round(len(traces) / seconds, 2) if seconds else None,
        "forward_passes": round(forward_passes, 2),
        "tokens": tokens,
        "latency_mode": "batched"
        if n_workers == 1
        else f"batched, {n_workers} workers",
        "device": facts.get("device"),
        "dtype": facts.get("dtype"),
    }


def split_hash(calibration_ids: frozenset[str]) -> str:
    """Return a hash of the ids of the calibration part: which samples are held out.

    Rows that differ in it were measured on different test parts.
    """
    return hashlib.sha256("\n".join(sorted(calibration_ids)).encode()).hexdigest()[:16]


def is_contaminated(classifier: ResolvedClassifier, families: frozenset[str]) -> bool:
    """Tell whether a guard is of a family that was trained on the dataset.

    `families` are model families that were; case and punctuation play no part. A guard
    is of the family that its classifier or its model is named after, or that the
    classifier says: a folder may have any name.
    """
    names = (
        classifier.spec.name,
        classifier.model,
        *classifier.capabilities.families,
    )
    folded = [_fold_name(name) for name in names]
    return any(_fold_name(family) in name for family in families for name in folded)


def _fold_name(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
