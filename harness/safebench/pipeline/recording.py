"""Evidence of every sample: what is stored is read, what is missing is recorded."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safebench.checksums import sealed, unsealed
from safebench.compatibility import source_kinds
from safebench.errors import PluginError, RunFolderError
from safebench.evidence.base import EvidenceBundle
from safebench.evidence.scope import (
    judged_with_response,
    sample_keys,
    sample_to_record,
)
from safebench.evidence.store import (
    DamagedError,
    EvidenceManifest,
    EvidenceStore,
    evidence_key,
    manifest_paths,
)
from safebench.files import set_aside, write_json
from safebench.progress import progress_bar
from safebench.redaction import redact_secrets, redact_text
from safebench.specs import fields_by_kind

from .evidence_set import (
    EvidenceSet,
    RecordingCost,
    format_sharing,
    peak_memory,
    sum_traces,
)
from .isolated_classifier import load_classifier
from .probes import MAIN
from .recording_code import other_code_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.classifiers import Classifier, Recording, Trace
    from safebench.evidence import Evidence
    from safebench.evidence.scope import EvidenceScope
    from safebench.records import Dataset, Sample

    from .evidence_set import Kinds
    from .grid import ResolvedClassifier

STATE_FILE = "state.json"


class EvidenceRecorder:
    """The evidence of one classifier in one run folder, whose lock the caller holds.

    The model is loaded when something is missing and not before: judging stored
    evidence again needs neither the model nor the library that runs it. `code` is the
    `recording_code` of today; with `refresh` what is stored is recorded again, with
    `retry_failed` what is stored as a failure. `log` is given a line for people about
    what is used, loaded, or damaged.
    """

    def __init__(
        self,
        classifier: ResolvedClassifier,
        root: Path,
        shard_size: int | None = None,
        *,
        code: dict[str, Any] | None = None,
        refresh: bool = False,
        retry_failed: bool = False,
        log: Callable[[str], None] = lambda _: None,
        show_progress: bool = True,
    ) -> None:
        self.classifier = classifier
        self.root = root
        self.shard_size = shard_size
        self.code = code
        self.refresh = refresh
        self.retry_failed = retry_failed
        self.log = log
        self.show_progress = show_progress
        self.model: Classifier | None = None
        # apart, since adding a strategy later must not record the default again
        self.kind_groups = {MAIN: kind_groups(classifier, MAIN)}
        self.manifest: EvidenceManifest | None = None
        self.stores: dict[str, EvidenceStore] = {}

    def prepare(
        self,
        datasets: Sequence[Dataset],
        probes: Mapping[str, Sequence[Dataset]] | None = None,
    ) -> None:
        """Choose the evidence key; load the model only if evidence is missing.

        `probes` are what is asked beside the datasets, by the name of the probe.
        Without the model its facts (device, dtype) are unknown, and with them the key:
        any stored evidence of the same request serves if it is complete.
        """
        asked = {name: sets for name, sets in (probes or {}).items() if sets}
        wanted = {MAIN: datasets, **asked}
        for probe in wanted:
            self.kind_groups[probe] = kind_groups(self.classifier, probe)
        samples = [s for sets in wanted.values() for d in sets for s in d.samples]
        request = _as_json(self.classifier.request)
        earlier = [m for m in self._stored_manifests() if m.request == request]
        if not self.refresh:
            for manifest in earlier:
                self._open_stores(manifest)
                self._forget_failed(samples)
                if not any(
                    store.missing(self._keys_in(store, dataset.samples))
                    for probe, sets in wanted.items()
                    for store in self._stores_of(probe).values()
                    for dataset in sets
                ):
                    return
        model = self._load_model()
        facts = redact_secrets(_as_json(dict(model.facts)), in_text=False)
        self._log_other_facts(earlier, facts)
        manifest = EvidenceManifest(evidence_key(request, facts), request, facts)
        manifest.write(self.root)
        self._open_stores(manifest)
        if self.refresh:
            for store in self.stores.values():
                store.forget(self._keys_in(store, samples))
        if n_failed := self._forget_failed(samples):
            self.log(
                f"{self.classifier.label}: {n_failed} failed "
                f"{'sample is' if n_failed == 1 else 'samples are'} recorded again"
            )
        self._restore_state()

    def evidence_for(self, dataset: Dataset, probe: str = MAIN) -> EvidenceSet:
        """Return the dataset's evidence, recording what is missing shard by shard."""
        assert self.manifest is not None, "prepare() comes first"
        self._log_stored(dataset, probe)
        self._record_missing(dataset, probe)
        evidence: dict[type[Evidence], Evidence] = {}
        costs: list[RecordingCost] = []
        for name, kinds in self.kind_groups[probe].items():
            store = self.stores[name]
            keys = self._keys_in(store, dataset.samples)
            try:
                stored = store.load(keys, kinds)
            except (ValueError, KeyError, TypeError) as error:
                # each part is whole, and was recorded under this key
                raise RunFolderError(
                    f"the evidence in {store.folder} does not fit together ({error}): "
                    f"delete {store.folder} to record it again"
                ) from error
            evidence |= stored.evidence
            costs.append(
                RecordingCost(
                    kinds,
                    stored.traces,
                    stored.peak_memory_mib,
                    payers(dataset.label, store, keys),
                )
            )
        traces = sum_traces(costs)
        return EvidenceSet(
            self.manifest.key,
            self.manifest.facts,
            EvidenceBundle(evidence),
            traces,
            peak_memory(costs),
            costs=tuple(costs),
            notes=(
                *self._other_code(dataset, probe),
                *meta_notes(evidence.values()),
                *left_out_notes(traces),
                *response_notes(dataset.samples, self.classifier.evidence_scope),
            ),
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

    def _forget_failed(self, samples: Sequence[Sample]) -> int:
        """Take failed samples for not recorded, if asked to; return how many."""
        if not self.retry_failed:
            return 0
        return sum(
            store.forget_failed(self._keys_in(store, samples))
            for store in self.stores.values()
        )

    def _keys_in(self, store: EvidenceStore, samples: Sequence[Sample]) -> list[str]:
        """Return the key of each sample's evidence in a store."""
        scope = self.classifier.evidence_scope
        return [store.stored_under(sample_keys(sample, scope)) for sample in samples]

    def _open_stores(self, manifest: EvidenceManifest) -> None:
        self.manifest = manifest
        folder = self.root / manifest.key
        self.stores = {
            name: EvidenceStore(folder / name, kinds, manifest.key, self.code)
            for groups in self.kind_groups.values()
            for name, kinds in groups.items()
        }
        for store in self.stores.values():
            for line in store.set_aside_damaged():
                self.log(f"{line}; its samples are recorded again")

    def _stored_manifests(self) -> Iterator[EvidenceManifest]:
        for path in manifest_paths(self.root):
            try:
                yield EvidenceManifest.read(path)
            except DamagedError as error:
                aside = set_aside(path).name
                self.log(f"{path} {error}: set aside as {aside}, and written again")

    def _log_other_facts(
        self, earlier: Sequence[EvidenceManifest], facts: dict[str, Any]
    ) -> None:
        """Say what differs where all is recorded again that an earlier run has.

        A service may have put another model behind the same name.
        """
        if any(manifest.facts == facts for manifest in earlier):
            return
        for manifest in earlier:
            changed = "; ".join(
                f"{name} was {manifest.facts.get(name)!r} and is {facts.get(name)!r}"
                for name in sorted(manifest.facts.keys() | facts.keys())
                if manifest.facts.get(name) != facts.get(name)
            )
            self.log(
                f"{self.classifier.label}: the evidence in {manifest.key} is not used "
                f"now, and all is recorded again: {changed}"
            )

    def _restore_state(self) -> None:
        """Hand the model what it learnt in earlier runs: a budget, a measured speed."""
        path, model = self.state_file, self._load_model()
        if path is None or not path.exists():
            return
        try:
            model.restore(unsealed(json.loads(path.read_text("utf-8"))))
        except (IsADirectoryError, ValueError, TypeError, RecursionError, PluginError):
            self.log(
                f"{path} cannot be read: set aside as {set_aside(path).name}; "
                f"{self.classifier.label} starts without what it learnt"
            )
            # half of a state may have been taken over
            self.close()
            self._load_model()

    def _stores_of(self, probe: str) -> dict[str, EvidenceStore]:
        return {name: self.stores[name] for name in self.kind_groups[probe]}

    def _log_stored(self, dataset: Dataset, probe: str) -> None:
        stores = self._stores_of(probe)
        for name, store in stores.items():
            keys = self._keys_in(store, dataset.samples)
            n_stored = sum(key in store for key in keys)
            what = f"{self.classifier.label} on {dataset.label}: "
            if name != probe and len(stores) > 1:
                what += f"{name.removeprefix(probe + '.')}: "
            samples = "sample" if len(keys) == 1 else "samples"
            if n_stored == len(keys):
                shared = format_sharing(payers(dataset.label, store, keys), dataset)
                self.log(
                    f"{what}uses stored evidence of {n_stored} {samples}"
                    + (f", shared with {shared}" if shared else "")
                )
            elif n_stored:
                self.log(
                    f"{what}{n_stored} of {len(keys)} {samples} already done, "
                    "their stored evidence is used"
                )

    def _other_code(self, dataset: Dataset, probe: str) -> tuple[str, ...]:
        """Return what to know of evidence that other code than today's recorded."""
        if self.code is None:
            return ()
        notes = [
            note
            for store in self._stores_of(probe).values()
            for recorder, _ in store.recorders(self._keys_in(store, dataset.samples))
            # early versions did not store it: nobody knows
            if isinstance(recorder, dict)
            for note in other_code_notes(recorder, self.code)
        ]
        return tuple(dict.fromkeys(notes))

    def _load_model(self) -> Classifier:
        if self.model is None:
            self.log(f"{self.classifier.label}: loading {self.classifier.model}")
            self.model = load_classifier(self.classifier)
        return self.model

    def _record_missing(self, dataset: Dataset, probe: str) -> None:
        keys = {
            name: self._keys_in(store, dataset.samples)
            for name, store in self._stores_of(probe).items()
        }
        missing = {name: self.stores[name].missing(keys[name]) for name in keys}
        total = sum(map(len, missing.values()))
        if not total:
            return
        classifier = self.classifier
        to_record = [
            sample_to_record(sample, classifier.evidence_scope, classifier.tasks)
            for sample in dataset.samples
        ]
        title = f"{self.classifier.label} on {dataset.label}"
        bar = (
            progress_bar(title, total)
            if self.show_progress
            else nullcontext(ignore_progress)
        )
        with bar as on_progress:
            for name, missing_keys in missing.items():
                # samples that read the same share a key, and are recorded once
                samples = dict(zip(keys[name], to_record, strict=True))
                self._record_shards(
                    name,
                    self.kind_groups[probe][name],
                    missing_keys,
                    samples,
                    on_progress,
                    dataset.label,
                )

    def _record_shards(
        self,
        group: str,
        kinds: Kinds,
        keys: Sequence[str],
        samples: Mapping[str, Sample],
        on_progress: Callable[[int], None],
        dataset: str,
    ) -> None:
        model = self._load_model()
        size = self.shard_size or model.shard_size
        for start in range(0, len(keys), size):
            shard = keys[start : start + size]
            recording = record_kinds(
                self.classifier.label,
                model,
                [samples[key] for key in shard],
                kinds,
                on_progress,
            )
            if recording.peak_memory_mib is None:
                recording.peak_memory_mib = process_peak_mib()
            # Before the shard: a run that is killed between the two records the shard
            # again, under a state at least as new as the one it was recorded under.
            self._save_state(model)
            self.stores[group].add(shard, recording, dataset)

    def _save_state(self, model: Classifier) -> None:
        assert self.state_file is not None
        if model.state:
            write_json(self.state_file, sealed(model.state))


def payers(dataset: str, store: EvidenceStore, keys: Sequence[str]) -> list[str]:
    """Return, for each sample of a dataset, the dataset that its cost is counted on.

    Evidence is paid once: by the dataset that it was recorded for, and there by the
    first of the samples that share it ("" for the others). What early versions stored
    does not say so: each sample counts, as it did then.
    """
    labels: list[str] = []
    seen: set[str] = set()
    for key in keys:
        recorded_for = store.dataset_of(key)
        repeated = recorded_for == dataset and key in seen
        labels.append("" if repeated else recorded_for or dataset)
        seen.add(key)
    return labels


def meta_notes(batches: Iterable[Evidence]) -> tuple[str, ...]:
    """Return what a classifier wants readers of its evidence to know."""
    notes = (batch.meta.get("notes") for batch in batches)
    return tuple(str(n) for ns in notes if isinstance(ns, list | tuple) for n in ns)


def response_notes(samples: Sequence[Sample], scope: EvidenceScope) -> tuple[str, ...]:
    """Return how many prompts were judged beside the responses that follow them.

    A guard of several tasks is shown the whole exchange, and what was answered may
    change what it says of the question.
    """
    n = sum(judged_with_response(sample, scope) for sample in samples)
    if not n:
        return ()
    if len(samples) == 1:
        return ("the prompt was judged beside its response",)
    note = (
        f"{n} of {len(samples)} prompts {'was' if n == 1 else 'were'} judged beside "
        f"{'its response' if n == 1 else 'their responses'}"
    )
    return (note,)


def left_out_notes(traces: Sequence[Trace]) -> tuple[str, ...]:
    """Return how many samples were judged without turns that a template leaves out."""
    n = sum(trace.dropped_side == "template" for trace in traces)
    if not n:
        return ()
    note = (
        f"{n} of {len(traces)} samples {'was' if n == 1 else 'were'} judged without "
        "earlier turns: the model's chat template leaves them out"
    )
    return (note,)


def kind_groups(classifier: ResolvedClassifier, probe: str = MAIN) -> dict[str, Kinds]:
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
    groups = {probe: default} if default else {}
    times = Counter(kind.__name__ for kind in on_request)
    for kind in on_request:
        # two plugins may call their kinds alike; the ids of kinds are unique
        name = kind.__name__ if times[kind.__name__] == 1 else kind.kind_id
        groups[f"{probe}.{name}"] = frozenset({kind})
    return groups


def record_kinds(
    label: str,
    model: Classifier,
    samples: Sequence[Sample],
    kinds: Kinds,
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


def _as_json(value: Any) -> Any:
    """Return a value as it reads back from JSON, to compare it with a stored one."""
    return json.loads(json.dumps(value, default=str))
