"""Measuring latency: samples of a dataset shown to the classifier one at a time.

Through the same `record` as the run, before the run records the dataset: a service that
keeps prompts in a cache has not seen them then.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from contextlib import nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Any

from safebench.evidence.scope import sample_to_record
from safebench.executors import Shard
from safebench.executors.worker import ignore_progress
from safebench.progress import progress_bar
from safebench.provenance import differences, package_versions
from safebench.results.latency import (
    LatencyLog,
    MeasuredSample,
    latency_key,
    stored_log,
)

from .probes import MAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from safebench.executors import Workers
    from safebench.records import Sample
    from safebench.typing import Array

    from .evaluation_set import EvaluationSet
    from .evidence_set import EvidenceSet, Kinds
    from .recording import EvidenceRecorder

WARM_UP = 3
_SECONDS_BETWEEN_SAVES = 10.0


def choose_samples(
    evaluation_set: EvaluationSet, n: int, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Return `n` samples of the test part to measure, and others to warm up with.

    Of samples that read the same the first one. Which are taken depends on their texts
    and on `seed` alone, so all classifiers are measured on the same ones.
    """
    held_out = evaluation_set.calibration_ids
    distinct = {
        sample.content: sample
        for sample in reversed(evaluation_set.dataset.samples)
        if sample.id not in held_out
    }
    ordered = sorted(distinct.values(), key=lambda sample: _rank(sample, seed))
    measured = ordered[:n]
    return measured, (ordered[n : n + WARM_UP] or measured)[:WARM_UP]


def _rank(sample: Sample, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{sample.content}".encode()).hexdigest()


def measure_latency(
    recorder: EvidenceRecorder, evaluation_set: EvaluationSet, n: int, seed: int
) -> None:
    """Measure `n` samples of a dataset, those that have no time yet.

    Raises what the classifier raises; what is measured by then is kept.
    """
    samples, warm_up = choose_samples(evaluation_set, n, seed)
    times = _times_of_today(recorder, samples)
    missing = {
        group: _missing(times, group, samples, again=recorder.retry_failed)
        for group in recorder.kind_groups[MAIN]
    }
    total = sum(map(len, missing.values()))
    if not total:
        return
    workers = recorder.workers_of_evidence()
    if workers is None:
        return
    name = f"{recorder.classifier.label} on {evaluation_set.dataset.label}"
    recorder.log(
        f"{name}: latency of {total} samples, one at a time, after {len(warm_up)} to "
        "warm up"
    )
    learnt = workers.state
    shown = recorder.show_progress
    bar = (
        progress_bar(f"latency of {name}", total)
        if shown
        else nullcontext(ignore_progress)
    )
    try:
        with bar as on_progress:
            for group, kinds in recorder.kind_groups[MAIN].items():
                if missing[group]:
                    # the first calls load kernels, or open connections
                    list(_timed(recorder, workers, kinds, warm_up))
                    timed = _timed(recorder, workers, kinds, missing[group])
                    seconds = times.seconds.setdefault(group, {})
                    _keep(timed, seconds, times, recorder.folder, on_progress)
    finally:
        # What a model learns from single samples, such as its speed, is not what
        # batches teach it: the run goes on as if nothing had been measured.
        if learnt is not None and learnt != workers.state:
            workers.restore(learnt)


def _times_of_today(
    recorder: EvidenceRecorder, samples: Sequence[Sample]
) -> LatencyLog:
    """Return stored times, without those to be measured again, of `samples` or all."""
    now = surroundings()
    times = stored_log(recorder.folder, recorder.log) or LatencyLog(now, WARM_UP)
    if times.where != now and times.seconds:
        changed = "; ".join(differences(times.where, now)).replace("; : ", "; ")
        recorder.log(
            f"{recorder.classifier.label}: latencies are measured again, all of them: "
            + changed.lstrip(": ")
        )
        times.seconds.clear()
    times.where = now
    if recorder.refresh:
        for known in times.seconds.values():
            for sample in samples:
                known.pop(latency_key(sample.content, sample.task), None)
    return times


def _keep(
    timed: Iterable[tuple[Sample, float | None]],
    seconds: dict[str, float | None],
    times: LatencyLog,
    folder: Path,
    on_progress: Callable[[int], None],
) -> None:
    """Write times as they come: an interruption costs those of a few seconds."""
    saved = monotonic()
    try:
        for sample, taken in timed:
            seconds[latency_key(sample.content, sample.task)] = taken
            on_progress(1)
            if monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                times.write(folder)
                saved = monotonic()
    finally:
        times.write(folder)


def _timed(
    recorder: EvidenceRecorder,
    workers: Workers,
    kinds: Kinds,
    samples: Sequence[Sample],
) -> Iterator[tuple[Sample, float | None]]:
    """Yield each sample with the seconds that it took, None if it failed."""
    classifier = recorder.classifier
    for sample in samples:
        shown = sample_to_record(sample, classifier.evidence_scope, classifier.tasks)
        shards = workers.record([Shard(0, [shown], kinds)], ignore_progress)
        for done in shards:  # there is one
            failed = done.recording.traces[0].error is not None
            yield sample, None if failed else done.seconds


def _missing(
    times: LatencyLog, group: str, samples: Sequence[Sample], *, again: bool
) -> list[Sample]:
    known = times.seconds.get(group, {})
    keys = [latency_key(sample.content, sample.task) for sample in samples]
    return [
        sample
        for sample, key in zip(samples, keys, strict=True)
        if key not in known or (again and known[key] is None)
    ]


def surroundings() -> dict[str, Any]:
    """Return what the time of one sample depends on beside the evidence key."""
    try:
        n_cpus: int | None = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        n_cpus = os.cpu_count()
    where = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": n_cpus,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "versions": package_versions(),
    }
    # as it reads back from the file
    read_back: dict[str, Any] = json.loads(json.dumps(where))
    return read_back


def measured_samples(
    evidence: EvidenceSet, samples: Sequence[Sample], rows: Array
) -> list[MeasuredSample]:
    """Return the times of the `rows` that were measured, for what a strategy reads.

    What is recorded apart is asked for one after the other: times add up.
    """
    costs = evidence.costs
    if not costs or not all(cost.latency for cost in costs):
        return []
    measured = [row for row in rows.tolist() if all(row in c.latency for c in costs)]
    return [
        MeasuredSample(
            _sum([cost.latency[row] for cost in costs]),
            samples[row].group or samples[row].content,
        )
        for row in measured
    ]


def _sum(seconds: Sequence[float | None]) -> float | None:
    known = [value for value in seconds if value is not None]
    return sum(known) if len(known) == len(seconds) else None


def how_measured() -> str:
    """Say how times come about, for the note of a number."""
    return f"seconds from text to evidence, one sample at a time, {WARM_UP} to warm up"
