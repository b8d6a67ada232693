"""Evidence of every sample: what is stored is read, what is missing is recorded."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from safebench.compatibility import source_kinds
from safebench.errors import SafebenchError
from safebench.evidence.bundle import EvidenceBundle
from safebench.evidence.store import (
    EvidenceManifest,
    EvidenceStore,
    evidence_key,
    sample_key,
)
from safebench.files import write_json
from safebench.progress import progress_bar
from safebench.specs import fields_by_kind

from .evidence_set import EvidenceSet, RecordingCost, peak_memory, sum_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from safebench.classifiers import Classifier, Recording
    from safebench.evidence import Evidence
    from safebench.records import Dataset, Sample

    from .evidence_set import Kinds
    from .grid import ResolvedClassifier

PROBE = "main"
STATE_FILE = "state.json"


class EvidenceRecorder:
    """The evidence of one classifier in one run folder.

    The model is loaded when something is missing and not before: judging stored
    evidence again needs neither the model nor the library that runs it.
    """

    def __init__(
        self, classifier: ResolvedClassifier, root: Path, shard_size: int | None = None
    ) -> None:
        self.classifier = classifier
        self.root = root
        self.shard_size = shard_size
        self.model: Classifier | None = None
        # apart, since adding a strategy later must not record the default again
        self.kind_groups = kind_groups(classifier)
        self.manifest: EvidenceManifest | None = None
        self.stores: dict[str, EvidenceStore] = {}

    def prepare(self, datasets: Sequence[Dataset]) -> None:
        """Choose the evidence key; load the model only if evidence is missing.

        Without the model its facts (device, dtype) are unknown, and with them the key:
        any stored evidence of the same request serves if it is complete.
        """
        keys = [key for dataset in datasets for key in self._sample_keys(dataset)]
        request = _as_json(self.classifier.request)
        for manifest in EvidenceManifest.read_all(self.root):
            if manifest.request == request:
                self._open_stores(manifest)
                if all(not store.missing(keys) for store in self.stores.values()):
                    return
        model = self._load_model()
        facts = _as_json(dict(model.facts))
        key = evidence_key(self.classifier.request, facts)
        manifest = EvidenceManifest(key, request, facts)
        manifest.write(self.root)
        self._open_stores(manifest)
        if self.state_file and self.state_file.exists():
            model.restore(json.loads(self.state_file.read_text("utf-8")))

    def evidence_for(self, dataset: Dataset) -> EvidenceSet:
        """Return the dataset's evidence, recording what is missing shard by shard."""
        assert self.manifest is not None, "prepare() comes first"
        keys = self._sample_keys(dataset)
        self._record_missing(dataset, keys)
        evidence: dict[type[Evidence], Evidence] = {}
        costs: list[RecordingCost] = []
        for name, kinds in self.kind_groups.items():
            stored = self.stores[name].load(keys, kinds)
            evidence |= stored.evidence
            costs.append(RecordingCost(kinds, stored.traces, stored.peak_memory_mib))
        return EvidenceSet(
            self.manifest.key,
            self.manifest.facts,
            EvidenceBundle(evidence),
            sum_traces(costs),
            peak_memory(costs),
            costs=tuple(costs),
        )

    def close(self) -> None:
        """Free the model, if one was loaded."""
        if self.model is not None:
            self.model.close()
            self.model = None

    @property
    def state_file(self) -> Path | None:
        """Where what a model learnt while recording is kept, once the key is known."""
        return self.root / self.manifest.key / STATE_FILE if self.manifest else None

    def _sample_keys(self, dataset: Dataset) -> list[str]:
        scope = self.classifier.spec.evidence_scope
        return [sample_key(sample, scope) for sample in dataset.samples]

    def _open_stores(self, manifest: EvidenceManifest) -> None:
        self.manifest = manifest
        folder = self.root / manifest.key
        self.stores = {
            name: EvidenceStore(folder / name, kinds)
            for name, kinds in self.kind_groups.items()
        }

    def _load_model(self) -> Classifier:
        if self.model is None:
            self.model = self.classifier.spec.code()(self.classifier.options)
        return self.model

    def _record_missing(self, dataset: Dataset, keys: Sequence[str]) -> None:
        missing = {name: store.missing(keys) for name, store in self.stores.items()}
        total = sum(map(len, missing.values()))
        if not total:
            return
        # samples that read the same share a key, and are recorded once
        samples = dict(zip(keys, dataset.samples, strict=True))
        title = f"{self.classifier.label} on {dataset.label}"
        with progress_bar(title, total) as on_progress:
            for name, missing_keys in missing.items():
                self._record_shards(name, missing_keys, samples, on_progress)

    def _record_shards(
        self,
        group: str,
        keys: Sequence[str],
        samples: Mapping[str, Sample],
        on_progress: Callable[[int], None],
    ) -> None:
        model = self._load_model()
        size = self.shard_size or model.shard_size
        for start in range(0, len(keys), size):
            shard = keys[start : start + size]
            recording = record_kinds(
                self.classifier.label,
                model,
                [samples[key] for key in shard],
                self.kind_groups[group],
                on_progress,
            )
            if recording.peak_memory_mib is None:
                recording.peak_memory_mib = process_peak_mib()
            # Before the shard: a run that is killed between the two records the shard
            # again, under a state at least as new as the one it was recorded under.
            self._save_state(model)
            self.stores[group].add(shard, recording)

    def _save_state(self, model: Classifier) -> None:
        assert self.state_file is not None
        if model.state:
            write_json(self.state_file, dict(model.state))


def kind_groups(classifier: ResolvedClassifier) -> dict[str, Kinds]:
    """Return what is recorded together: the default whole, each kind on request alone.

    The names are those of the stores below the evidence key.
    """
    spec = classifier.spec
    default = frozenset(fields_by_kind(spec.provides))
    read = {
        kind
        for strategy in classifier.strategies
        for kind in source_kinds(spec, strategy.spec)
    }
    on_request = sorted(read - default, key=lambda kind: kind.__name__)
    groups = {PROBE: default} if default else {}
    return groups | {f"{PROBE}.{k.__name__}": frozenset({k}) for k in on_request}


def record_kinds(
    label: str,
    model: Classifier,
    samples: Sequence[Sample],
    kinds: Kinds,
    on_progress: Callable[[int], None],
) -> Recording:
    """Record evidence of some kinds about samples, for runs and single prompts alike.

    Raises `SafebenchError` if the classifier does not return every kind and a trace
    for each sample: what is stored must be complete.
    """
    recording = model.record(samples, kinds, on_progress)
    sizes = {k.__name__: len(batch) for k, batch in recording.evidence.items()}
    sizes["traces"] = len(recording.traces)
    missing = sorted(k.__name__ for k in kinds - recording.evidence.keys())
    if missing or set(sizes.values()) != {len(samples)}:
        count = f"{len(samples)} sample{'' if len(samples) == 1 else 's'}"
        raise SafebenchError(
            f"classifier {label!r} broke its contract: "
            f"{count} in, {sizes} out, missing {missing or 'nothing'}"
        )
    return recording


def process_peak_mib() -> float | None:
    """Return the most memory that this process has held, in MiB, if it can be known."""
    try:
        import resource
    except ImportError:  # not on every system
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes, or KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _as_json(value: Any) -> Any:
    """Return a value as it reads back from JSON, to compare it with a stored one."""
    return json.loads(json.dumps(value, default=str))
