"""Rows of the unified results table for one classifier x strategy x dataset."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.metrics import compute
from safebench.results import Row
from safebench.specs import MetricSpec

from .manifest import versions

if TYPE_CHECKING:
    from safebench.classifiers import Trace
    from safebench.metrics import Value
    from safebench.plugins import Plugins
    from safebench.statistics import Interval

    from .grid import ChosenClassifier, ChosenStrategy
    from .judging import Judged
    from .parts import Part
    from .recorder import Evidenced
    from .scoring import Scored


def rows_of(
    run: str,
    classifier: ChosenClassifier,
    strategy: ChosenStrategy,
    part: Part,
    evidenced: Evidenced,
    judged: Judged,
    scored: Scored,
    plugins: Plugins,
) -> list[Row]:
    """Return one row a metric, about the test part."""
    from safebench.metrics.intervals import intervals  # loads scipy, which takes time

    outcome = scored.outcome
    traces = [evidenced.traces[i] for i in scored.rows]
    shared = {
        "run": run,
        **_combination(classifier, strategy, part),
        "policy_map": scored.policy_map,
        "n": outcome.n,
        "n_pos": int(outcome.y.sum()),
        "n_neg": int((~outcome.y).sum()),
        "n_failed": int(outcome.failed.sum()),
        "threshold": judged.threshold,
        "evidence_key": evidenced.key,
        "versions": versions(),
        "commit": commit(),
        "peak_memory_mib": evidenced.peak_memory_mib,
        **_cost(traces, evidenced.facts),
    }
    sampled = intervals(outcome)
    judged_samples = outcome.n - int(outcome.failed.sum())
    return [
        Row(
            **shared,
            **_interval(value, sampled.get(spec.name)),
            metric=spec.name,
            value=value.value,
            bound_low=value.bound_low,
            bound_high=value.bound_high,
            higher_is_better=spec.higher_is_better,
            n_scored=judged_samples if value.n_scored is None else value.n_scored,
            note=_note(value, judged),
        )
        for spec, value in compute(outcome, plugins.all(MetricSpec))
    ]


def _combination(
    classifier: ChosenClassifier, strategy: ChosenStrategy, part: Part
) -> dict[str, Any]:
    """Return what is measured on what."""
    dataset = part.dataset
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
        "split_hash": split_hash(part.calibration),
        "contaminated": contaminated(classifier, dataset.contaminates),
    }


def _note(value: Value, judged: Judged) -> str:
    """Return a metric's note; evidence that was cut short explains what is missing."""
    if value.value is None and judged.only_at is not None:
        return f"evidence was grown for decisions at {judged.only_at} alone"
    return value.note


def _interval(value: Value, found: Interval | None) -> dict[str, Any]:
    """Return the fields of a metric's interval; the method says what was drawn."""
    if value.value is None or found is None:
        return {}
    if found.low is None:
        return {"ci_method": f"none: {found.method}"}
    return {
        "ci_low": found.low,
        "ci_high": found.high,
        "ci_method": f"{found.method}, {found.n_groups} groups",
    }


def _cost(traces: list[Trace], facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the samples cost when their evidence was recorded."""
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


def split_hash(calibration: frozenset[str]) -> str:
    """Return a hash of the calibration part's ids: which samples were held back."""
    return hashlib.sha256("\n".join(sorted(calibration)).encode()).hexdigest()[:16]


def contaminated(classifier: ChosenClassifier, families: frozenset[str]) -> bool:
    """Tell whether the model's name says that it was trained on the dataset."""
    names = (_folded(classifier.spec.name), _folded(classifier.model))
    return any(_folded(family) in name for family in families for name in names)


def _folded(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum())


@cache
def commit() -> str | None:
    """Return the commit of a source checkout, or None for an installed package."""
    here = Path(__file__).resolve().parent
    if not any((parent / ".git").exists() for parent in here.parents[:4]):
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],  # noqa: S607 - the user's git
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
