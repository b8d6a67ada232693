"""Evidence of every sample: what is stored is read, what is missing is recorded."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.checksums import sealed, unsealed
from safebench.compatibility import source_kinds
from safebench.errors import PluginError
from safebench.evidence.base import EvidenceBundle
from safebench.evidence.manifest import (
    DamagedError,
    EvidenceManifest,
    evidence_key,
    manifest_paths,
)
from safebench.evidence.scope import judged_with_response
from safebench.evidence.store import EvidenceStore
from safebench.evidence.trace_columns import trace_column
from safebench.executors import ClassifierJob, Shard
from safebench.executors.local import LocalExecutor
from safebench.executors.worker import ignore_progress
from safebench.files import set_aside, write_json
from safebench.progress import progress_bar
from safebench.provenance import differences
from safebench.redaction import redact_secrets
from safebench.results.latency import latency_by_row, stored_log
from safebench.specs import fields_by_kind

from .dataset_keys import MissingSamples, dataset_keys
from .evidence_set import (
    EvidenceSet,
    RecordingCost,
    format_sharing,
    peak_memory,
    sum_traces,
)
from .probes import MAIN
from .recording_code import other_code_notes
from .settling import STATE_FILE
from .stored_bundle import (
    MAX_WHOLE,
    StoredBundle,
    StoredKinds,
    fits_whole,
    fitting_together,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.classifiers import Trace
    from safebench.evidence import Evidence
    from safebench.evidence.key_index import EvidenceKeys
    from safebench.evidence.recording import Recording
    from safebench.evidence.scope import EvidenceScope
    from safebench.evidence.shard_file import StoredFacts
    from safebench.executors import Workers
    from safebench.records import Dataset

    from .evidence_set import Kinds
    from .executor import RunExecutor
    from .resolved import ResolvedClassifier

MAX_SHARD = 1024  # samples, of classifiers that say nothing else


class EvidenceRecorder:
    """The evidence of one classifier in one run folder, whose lock the caller holds.

    The model is loaded when something is missing and not before: judging stored
    evidence again needs neither the model nor the library that runs it. `code` is the
    `recording_code` of today; with `refresh` what is stored is recorded again, with
    `retry_failed` what is stored as a failure. `log` is given a line for people about
    what is used, loaded, or damaged. `executor` says where is recorded; None: here.
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
        executor: RunExecutor | None = None,
    ) -> None:
        self.classifier = classifier
        self.root = root
        self.shard_size = shard_size
        self.code = code
        self.refresh = refresh
        self.retry_failed = retry_failed
        self.log = log
        self.show_progress = show_progress
        self.executor = executor
        self.workers: Workers | None = None
        self.n_samples = 1  # at most so many are recorded
        # apart, since adding a strategy later must not record the default again
        self.kind_groups = {MAIN: kind_groups(classifier, MAIN)}
        self.manifest: EvidenceManifest | None = None
        self.stores: dict[str, EvidenceStore] = {}
        self._known_keys: dict[int, tuple[Dataset, list[EvidenceKeys]]] = {}

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
        asked_for = [dataset for sets in wanted.values() for dataset in sets]
        self.n_samples = sum(map(len, asked_for))
        request = _as_json(self.classifier.request)
        known = _as_json(dict(self.classifier.known_facts)).items()
        earlier = [
            manifest
            for manifest in self._stored_manifests()
            if manifest.request == request and known <= manifest.facts.items()
        ]
        if not self.refresh:
            for manifest in earlier:
                self._open_stores(manifest)
                self._forget_failed(asked_for)
                if not any(
                    len(store.missing_rows(self._keys_in(store, dataset)))
                    for probe, sets in wanted.items()
                    for store in self._stores_of(probe).values()
                    for dataset in sets
                ):
                    return
        workers = self._start_workers()
        facts = redact_secrets(_as_json(dict(workers.facts)), in_text=False)
        self._log_other_facts(earlier, facts)
        manifest = EvidenceManifest(evidence_key(request, facts), request, facts)
        manifest.write(self.root)
        self._open_stores(manifest)
        if self.refresh:
            for store in self.stores.values():
                store.forget(self._joined_keys(store, asked_for))
        if n_failed := self._forget_failed(asked_for):
            self.log(
                f"{self.classifier.label}: {n_failed} failed "
                f"{'sample is' if n_failed == 1 else 'samples are'} recorded again"
            )
        # a state beside evidence of which nothing is left says nothing of the new one
        if not self.refresh or any(map(len, self.stores.values())):
            self._restore_state()

    def evidence_for(self, dataset: Dataset, probe: str = MAIN) -> EvidenceSet:
        """Return the dataset's evidence, recording what is missing shard by shard."""
        assert self.manifest is not None, "prepare() comes first"
        self._log_stored(dataset, probe)
        self._record_missing(dataset, probe)
        stored_kinds: list[StoredKinds] = []
        evidence: dict[type[Evidence], Evidence] = {}
        metas: list[dict[str, Any]] = []
        costs: list[RecordingCost] = []
        whole = not self._in_parts(dataset, probe)
        times = None if probe != MAIN else stored_log(self.folder, self.log)
        for name, kinds in self.kind_groups[probe].items():
            store = self.stores[name]
            keys = self._keys_in(store, dataset)
            stored_kinds.append(StoredKinds(store, keys, kinds))
            stored: Recording | StoredFacts
            with fitting_together(store):
                if whole:
                    stored = store.load(keys, kinds)
                    evidence |= stored.evidence
                    metas += (batch.meta for batch in stored.evidence.values())
                else:
                    stored = store.facts(keys, kinds)
                    metas += stored.metas.values()
            costs.append(
                RecordingCost(
                    kinds,
                    stored.traces,
                    stored.peak_memory_mib,
                    payers(dataset.label, store, keys),
                    store.n_workers(keys),
                    latency_by_row(times, name, dataset.samples),
                )
            )
        traces = sum_traces(costs)
        return EvidenceSet(
            self.manifest.key,
            self.manifest.facts,
            EvidenceBundle(evidence) if whole else StoredBundle(stored_kinds),
            traces,
            peak_memory(costs),
            costs=tuple(costs),
            notes=(
                *self._other_code(dataset, probe),
                *meta_notes(metas),
                *left_out_notes(traces),
                *response_notes(dataset, self.classifier.evidence_scope),
            ),
        )

    def _in_parts(self, dataset: Dataset, probe: str) -> bool:
        """Tell whether evidence is read part by part: much, and all can read it so."""
        strategies = self.classifier.strategies
        readers = [s for t in strategies for s in (t, t.decision_fallback) if s]
        if len(dataset) <= MAX_WHOLE or not all(s.spec.per_sample for s in readers):
            return False
        stored = (
            StoredKinds(store, self._keys_in(store, dataset), kinds)
            for name, kinds in self.kind_groups[probe].items()
            for store in (self.stores[name],)
        )
        return not all(map(fits_whole, stored))

    def close(self) -> None:
        """Free the models, if any were loaded."""
        if self.workers is not None:
            workers, self.workers = self.workers, None
            workers.close()

    @property
    def folder(self) -> Path:
        """Where the evidence of this key lies; only after `prepare`."""
        assert self.manifest is not None, "prepare() comes first"
        return self.root / self.manifest.key

    def workers_of_evidence(self) -> Workers | None:
        """Return workers with the model of the stored evidence; None if it is another.

        Stored evidence is used without its model: only once that is loaded it is known
        whether it runs as it did (on the device, in the number format of then).
        """
        assert self.manifest is not None, "prepare() comes first"
        workers = self._start_workers()
        facts = redact_secrets(_as_json(dict(workers.facts)), in_text=False)
        if facts != self.manifest.facts:
            changed = "; ".join(differences(self.manifest.facts, facts))
            self.log(
                f"{self.classifier.label}: no latency is measured, since the evidence "
                f"was recorded otherwise ({changed.replace('; : ', '; ').lstrip(': ')})"
            )
            return None
        return workers

    @property
    def state_file(self) -> Path | None:
        """Where what a model learnt while recording is kept, once the key is known."""
        return self.root / self.manifest.key / STATE_FILE if self.manifest else None

    def _forget_failed(self, datasets: Sequence[Dataset]) -> int:
        """Take failed samples for not recorded, if asked to; return how many."""
        if not self.retry_failed:
            return 0
        return sum(
            store.forget_failed(self._joined_keys(store, datasets))
            for store in self.stores.values()
        )

    def _joined_keys(
        self, store: EvidenceStore, datasets: Sequence[Dataset]
    ) -> list[str]:
        """Return the keys of all samples of several datasets."""
        return [key for dataset in datasets for key in self._keys_in(store, dataset)]

    def _keys_in(self, store: EvidenceStore, dataset: Dataset) -> EvidenceKeys:
        """Return the key of each sample's evidence in a store."""
        # kept: each step of a run asks for them again
        known = self._known_keys.get(id(dataset))
        if known is None or known[0] is not dataset:
            known = (dataset, dataset_keys(dataset, self.classifier.evidence_scope))
            self._known_keys[id(dataset)] = known
        return store.stored_under(known[1])

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
        path, workers = self.state_file, self._start_workers()
        if path is None or not path.exists():
            return
        try:
            workers.restore(unsealed(json.loads(path.read_text("utf-8"))))
        except (IsADirectoryError, ValueError, TypeError, RecursionError, PluginError):
            self.log(
                f"{path} cannot be read: set aside as {set_aside(path).name}; "
                f"{self.classifier.label} starts without what it learnt"
            )
            # half of a state may have been taken over
            self.close()
            self._start_workers()

    def _stores_of(self, probe: str) -> dict[str, EvidenceStore]:
        return {name: self.stores[name] for name in self.kind_groups[probe]}

    def _log_stored(self, dataset: Dataset, probe: str) -> None:
        stores = self._stores_of(probe)
        for name, store in stores.items():
            keys = self._keys_in(store, dataset)
            n_stored = int((store.find(keys)[:, 0] >= 0).sum())
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
            for recorder, _ in store.recorders(self._keys_in(store, dataset))
            # early versions did not store it: nobody knows
            if isinstance(recorder, dict)
            for note in other_code_notes(recorder, self.code)
        ]
        return tuple(dict.fromkeys(notes))

    def _start_workers(self) -> Workers:
        if self.workers is None:
            classifier = self.classifier
            self.log(f"{classifier.label}: loading {classifier.model}")
            job = ClassifierJob.of(
                classifier.spec,
                classifier.options,
                label=classifier.label,
                model=classifier.model,
                identity=classifier.identity,
                n_at_once=-(-self.n_samples // (self.shard_size or MAX_SHARD)),
            )
            if self.executor is None:
                self.workers = LocalExecutor().start(job, self.log)
            else:
                reason = classifier.capabilities.one_process
                self.workers = self.executor.start(job, self.log, reason)
        return self.workers

    def _record_missing(self, dataset: Dataset, probe: str) -> None:
        classifier = self.classifier
        missing = {}
        for name, store in self._stores_of(probe).items():
            # samples that read the same share a key, and are recorded once
            keys = self._keys_in(store, dataset)
            missing[name] = MissingSamples(
                dataset,
                keys,
                store.missing_rows(keys),
                classifier.evidence_scope,
                classifier.tasks,
            )
        total = sum(map(len, missing.values()))
        if not total:
            return
        title = f"{self.classifier.label} on {dataset.label}"
        bar = (
            progress_bar(title, total)
            if self.show_progress
            else nullcontext(ignore_progress)
        )
        with bar as on_progress:
            for name, samples in missing.items():
                self._record_shards(
                    name,
                    self.kind_groups[probe][name],
                    samples,
                    on_progress,
                    dataset.label,
                )

    def _record_shards(
        self,
        group: str,
        kinds: Kinds,
        missing: MissingSamples,
        on_progress: Callable[[int], None],
        dataset: str,
    ) -> None:
        workers, store = self._start_workers(), self.stores[group]
        size = self.shard_size or workers.shard_size
        first = store.next_number()
        # keys and samples are made when a shard is due: all of them fill the memory
        starts = {first + i: at for i, at in enumerate(range(0, len(missing), size))}
        shards = (
            Shard(number, missing.samples(start, start + size), kinds)
            for number, start in starts.items()
        )
        for done in workers.record(shards, on_progress):
            # Before the shard: a run that is killed between the two records the shard
            # again, under a state at least as new as the one it was recorded under.
            self._save_state(done.state)
            start = starts[done.number]
            store.add(
                missing.keys(start, start + size),
                done.recording,
                dataset,
                number=done.number,
                workers=done.n_workers,
            )

    def _save_state(self, state: Mapping[str, Any]) -> None:
        assert self.state_file is not None
        if state:
            write_json(self.state_file, sealed(state))


def payers(dataset: str, store: EvidenceStore, keys: EvidenceKeys) -> list[str]:
    """Return, for each sample of a dataset, the dataset that its cost is counted on.

    Evidence is paid once: by the dataset that it was recorded for, and there by the
    first of the samples that share it ("" for the others). What early versions stored
    does not say so: each sample counts, as it did then.
    """
    recorded_for = store.datasets_of(store.find(keys))
    return [
        "" if label == dataset and not is_first else label or dataset
        for label, is_first in zip(recorded_for, keys.first.tolist(), strict=True)
    ]


def meta_notes(metas: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return what a classifier wants readers of its evidence to know."""
    notes = (meta.get("notes") for meta in metas)
    return tuple(str(n) for ns in notes if isinstance(ns, list | tuple) for n in ns)


def response_notes(dataset: Dataset, scope: EvidenceScope) -> tuple[str, ...]:
    """Return how many prompts were judged beside the responses that follow them.

    A guard of several tasks is shown the whole exchange, and what was answered may
    change what it says of the question.
    """
    columns = dataset.columns
    # a sample whose judged turn is the last has no response to be judged beside
    others = np.flatnonzero(columns.target < columns.n_turns - 1).tolist()
    n = sum(judged_with_response(dataset.samples[row], scope) for row in others)
    if not n:
        return ()
    if len(columns) == 1:
        return ("the prompt was judged beside its response",)
    note = (
        f"{n} of {len(columns)} prompts {'was' if n == 1 else 'were'} judged beside "
        f"{'its response' if n == 1 else 'their responses'}"
    )
    return (note,)


def left_out_notes(traces: Sequence[Trace]) -> tuple[str, ...]:
    """Return how many samples were judged without turns that a template leaves out."""
    n = sum(side == "template" for side in trace_column(traces, "dropped_side"))
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
    spec, unrecorded = classifier.spec, classifier.capabilities.unrecorded
    default = frozenset(fields_by_kind(spec.provides)) - unrecorded
    read = {
        kind
        for strategy in classifier.strategies
        for kind in source_kinds(spec, strategy.spec, unrecorded)
    }
    on_request = sorted(read - default, key=lambda kind: kind.__name__)
    groups = {probe: default} if default else {}
    times = Counter(kind.__name__ for kind in on_request)
    for kind in on_request:
        # two plugins may call their kinds alike; the ids of kinds are unique
        name = kind.__name__ if times[kind.__name__] == 1 else kind.kind_id
        groups[f"{probe}.{name}"] = frozenset({kind})
    return groups


def _as_json(value: Any) -> Any:
    """Return a value as it reads back from JSON, to compare it with a stored one."""
    return json.loads(json.dumps(value, default=str))
