"""Result rows: the metrics of one evaluation, with what they were measured on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from safebench.metrics import compute
from safebench.provenance import package_versions, source_commit
from safebench.results import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.classifiers import Trace
    from safebench.metrics import MetricValue
    from safebench.specs import MetricSpec
    from safebench.statistics import Interval

    from .evaluation import Evaluation
    from .grid import ResolvedClassifier
    from .judging import Predictions
    from .metric_input import MetricInput


def result_rows(
    run: str,
    evaluation: Evaluation,
    predictions: Predictions,
    metric_input: MetricInput,
    metrics: Sequence[MetricSpec],
) -> list[Row]:
    """Return one row a metric, about the test part."""
    from safebench.metrics.intervals import sampling_intervals

    outcome, evidence = metric_input.outcome, evaluation.evidence
    n_failed = int(outcome.failed.sum())
    traces = [evidence.traces[row] for row in metric_input.rows]
    shared = {
        "run": run,
        **_combination_fields(evaluation),
        "policy_map": metric_input.policy_map,
        "n": outcome.n,
        "n_pos": int(outcome.y.sum()),
        "n_neg": int((~outcome.y).sum()),
        "n_failed": n_failed,
        "threshold": predictions.threshold,
        "evidence_key": evidence.key,
        "versions": package_versions(),
        "commit": source_commit(),
        "peak_memory_mib": evidence.peak_memory_mib,
        **_cost_fields(traces, evidence.facts),
    }
    intervals = sampling_intervals(outcome, metrics)
    # a metric says so itself where it rests on other samples than those judged
    n_judged = outcome.n - n_failed
    return [
        Row(
            **shared,
            **_interval_fields(value, intervals.get(spec.name)),
            metric=spec.name,
            value=value.value,
            bound_low=value.bound_low,
            bound_high=value.bound_high,
            higher_is_better=spec.higher_is_better,
            n_scored=n_judged if value.n_scored is None else value.n_scored,
            note=_note(value, predictions),
        )
        for spec, value in compute(outcome, metrics)
    ]


def _combination_fields(evaluation: Evaluation) -> dict[str, Any]:
    """Return what is measured on what."""
    classifier, strategy = evaluation.classifier, evaluation.strategy
    dataset = evaluation.dataset
    return {
        "classifier": classifier.label,
        "model": classifier.model,
        "revision": classifier.identity.get("revision"),
        "strategy": strategy.label,
        "params": strategy.params,
        "threshold_from": strategy.spec.threshold_from,
        "dataset": dataset.name,
        "config": dataset.config,
        "split": dataset.split,
        "part": "test",
        "task": dataset.task,
        "policy": classifier.policy,
        "data_hash": dataset.data_hash,
        "split_hash": split_hash(evaluation.evaluation_set.calibration_ids),
        "contaminated": is_contaminated(classifier, dataset.contaminates),
    }


def _note(value: MetricValue, predictions: Predictions) -> str:
    """Return a metric's note; evidence that was cut short explains what is missing."""
    threshold = predictions.supported_threshold
    if value.value is None and threshold is not None:
        return f"evidence was grown for decisions at {threshold} alone"
    return value.note


def _interval_fields(value: MetricValue, interval: Interval | None) -> dict[str, Any]:
    """Return the fields of a metric's interval; the method says what was resampled."""
    if value.value is None or interval is None:
        return {}
    if interval.low is None:
        return {"ci_method": f"none: {interval.method}"}
    return {
        "ci_low": interval.low,
        "ci_high": interval.high,
        "ci_method": f"{interval.method}, {interval.n_groups} groups",
    }


def _cost_fields(traces: Sequence[Trace], facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the samples cost when their evidence was recorded."""
    # of the test part alone: what n counts
    seconds = sum(trace.seconds for trace in traces)
    return {
        "n_truncated": sum(trace.tokens_dropped > 0 for trace in traces),
        "seconds": round(seconds, 4),
        "samples_per_second": round(len(traces) / seconds, 2) if seconds else None,
        "forward_passes": round(sum(trace.forward_passes for trace in traces), 2),
        "tokens": sum(trace.tokens_in + trace.tokens_out for trace in traces),
        "latency_mode": "batched",
        "device": facts.get("device"),
        "dtype": facts.get("dtype"),
    }


def split_hash(calibration_ids: frozenset[str]) -> str:
    """Return a hash of the ids of the calibration part: which samples are held out.

    Rows that differ in it were measured on different test parts.
    """
    return hashlib.sha256("\n".join(sorted(calibration_ids)).encode()).hexdigest()[:16]


def is_contaminated(classifier: ResolvedClassifier, families: frozenset[str]) -> bool:
    """Tell whether the model's name says that it was trained on the dataset.

    `families` are model families that were; case and punctuation play no part.
    """
    names = (_fold_name(classifier.spec.name), _fold_name(classifier.model))
    return any(_fold_name(family) in name for family in families for name in names)


def _fold_name(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())
