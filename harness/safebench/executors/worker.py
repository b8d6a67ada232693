"""What a worker does, wherever it runs: load a classifier, record shards."""

from __future__ import annotations

import json
import platform
import sys
from collections import Counter
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, PluginError
from safebench.identity import NOTED_FILES, json_mapping
from safebench.isolation import isolated
from safebench.provenance import differences
from safebench.redaction import redact_secrets, redact_text

from .base import RecordedShard
from .isolated_classifier import load_classifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.classifiers import Classifier, Recording
    from safebench.evidence import Evidence
    from safebench.records import Sample

    from .base import ClassifierJob, Shard


class ClassifierWorker:
    """A loaded classifier; every call of it is isolated, and what it returns checked.

    Raises `PluginError` for whatever its code raises but a `SafebenchError`. On another
    machine than the run's, `check_model` raises `ModelError` if there is another model
    under the same name.
    """

    def __init__(self, job: ClassifierJob, *, check_model: bool = False) -> None:
        if check_model:
            _check_model(job)
        self.name = job.label
        self.model: Classifier = load_classifier(job)
        self.facts: Mapping[str, Any] = self.model.facts
        self.label: str = self.model.label
        self.shard_size: int = self.model.shard_size

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on with the state of an earlier run."""
        self.model.restore(state)

    def record(self, shard: Shard, on_progress: Callable[[int], None]) -> RecordedShard:
        """Record a shard: evidence of each kind, a trace of each sample, the state."""
        begin = perf_counter()
        recording = record_kinds(
            self.name, self.model, shard.samples, shard.kinds, on_progress
        )
        seconds = perf_counter() - begin
        if recording.peak_memory_mib is None:
            recording.peak_memory_mib = process_peak_mib()
        return RecordedShard(shard.number, recording, self.model.state, seconds=seconds)

    def close(self) -> None:
        """Free the model."""
        self.model.close()


def _check_model(job: ClassifierJob) -> None:
    """Raise `ModelError` if this machine has another model than the run's.

    Where nothing identifies it but its options, there is nothing to compare.
    """
    if not job.spec.identity:
        return
    identify = job.spec.import_object(job.spec.identity)
    with isolated(job.spec):
        stated = json_mapping(identify(job.options), "identity")
    stated.pop(NOTED_FILES, None)
    here = redact_secrets(stated, in_text=False)
    there, here = (
        json.loads(json.dumps(value, default=str))
        for value in (dict(job.identity), here)
    )
    difference = next(differences(there, here), None)
    if difference is not None:
        raise ModelError(
            f"{job.label}: the machine {platform.node()} has another {job.model} than "
            f"the one where the run was started: {difference} by it"
        )


def record_kinds(
    label: str,
    model: Classifier,
    samples: Sequence[Sample],
    kinds: frozenset[type[Evidence]],
    on_progress: Callable[[int], None],
) -> Recording:
    """Record evidence of some kinds about samples, for runs and single prompts alike.

    Raises `PluginError` if the classifier does not return every kind and a trace
    for each sample: what is stored must be complete.
    """
    recording = model.record(samples, kinds, on_progress)
    sizes = {k.__name__: len(batch) for k, batch in recording.evidence.items()}
    sizes["traces"] = len(recording.traces)
    stored_as = Counter(kind.kind_id for kind in recording.evidence)
    if len(stored_as) < len(recording.evidence):  # one would overwrite the other
        twice, _ = stored_as.most_common(1)[0]
        raise PluginError(
            f"classifier {label!r} broke its contract: two kinds of its evidence have "
            f"the kind_id {twice!r}"
        )
    missing = sorted(k.__name__ for k in kinds - recording.evidence.keys())
    if missing or set(sizes.values()) != {len(samples)}:
        count = f"{len(samples)} sample{'' if len(samples) == 1 else 's'}"
        raise PluginError(
            f"classifier {label!r} broke its contract: "
            f"{count} in, {sizes} out, missing {missing or 'nothing'}"
        )
    # a service may quote the key that it refuses
    recording.traces = [
        trace if trace.error is None else replace(trace, error=redact_text(trace.error))
        for trace in recording.traces
    ]
    return recording


def process_peak_mib() -> float | None:
    """Return the most memory that this process has held, in MiB, if it can be known."""
    try:
        import resource
    except ImportError:  # not on every system
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes, or KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def ignore_progress(n: int) -> None:
    """Do not report progress: of a single sample, or where nobody looks."""
