"""Have evidence about every sample: read what is stored, record what is missing."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from safebench.errors import SafebenchError
from safebench.evidence.bundle import Bundle
from safebench.evidence.store import Description, EvidenceStore, evidence_key, question
from safebench.files import write_json
from safebench.plan import sources
from safebench.specs import fields_by_kind

from .passes import Pass, highest, summed
from .progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from safebench.classifiers import Classifier, Recording, Trace
    from safebench.evidence import Evidence
    from safebench.records import Dataset, Sample
    from safebench.specs import ClassifierSpec

    from .grid import ChosenClassifier, ChosenStrategy

PROBE = "main"
STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Evidenced:
    """A dataset's evidence, in the order of its samples.

    `traces` are about all of it, or about what one reader rests on (`read_by`).
    """

    key: str
    facts: dict[str, Any]
    bundle: Bundle
    traces: list[Trace]
    peak_memory_mib: float | None = None
    parts: dict[tuple[int, ...], Bundle] = field(default_factory=dict)
    passes: tuple[Pass, ...] = ()

    def read_by(self, classifier: ClassifierSpec, strategy: ChosenStrategy) -> Self:
        """Return the evidence with costs and failures of what a strategy reads alone.

        Evidence on request is recorded by itself: it costs the others nothing.
        """
        specs = [s.spec for s in (strategy, strategy.decider) if s is not None]
        kinds = {kind for spec in specs for kind in sources(classifier, spec)}
        own = [one for one in self.passes if one.kinds & kinds]
        if not own:
            return self
        return replace(self, traces=summed(own), peak_memory_mib=highest(own))

    def only(self, rows: Sequence[int]) -> Bundle:
        """Return the evidence of some samples: all of it as it is, without a copy.

        So what one strategy derives from it serves the next.
        """
        if len(rows) == len(self.traces):
            return self.bundle
        if tuple(rows) not in self.parts:
            kept = {kind: batch.take(rows) for kind, batch in self.bundle.items()}
            self.parts[tuple(rows)] = Bundle(kept)
        return self.parts[tuple(rows)]


class Recorder:
    """The evidence of one classifier in one run folder.

    The model is loaded when something is missing and not before: judging stored
    evidence again needs neither the model nor the library that runs it.
    """

    def __init__(
        self, chosen: ChosenClassifier, root: Path, shard_size: int | None = None
    ) -> None:
        self.chosen = chosen
        self.root = root
        self.shard_size = shard_size
        self.model: Classifier | None = None
        self.groups = _groups(chosen)
        self.where: Description | None = None
        self.stores: dict[str, EvidenceStore] = {}

    def prepare(self, datasets: Sequence[Dataset]) -> None:
        """Choose the evidence key; load the model only if evidence is missing."""
        asked = [q for dataset in datasets for q in self._questions(dataset)]
        for description in Description.all(self.root):
            if description.request == _plain(self.chosen.request):
                self._use(description)
                if all(not s.missing(asked) for s in self.stores.values()):
                    return
        model = self._loaded()
        facts = _plain(dict(model.facts))
        key = evidence_key(self.chosen.request, facts)
        description = Description(key, _plain(self.chosen.request), facts)
        description.write(self.root)
        self._use(description)
        if self.state_file and self.state_file.exists():
            model.restore(json.loads(self.state_file.read_text("utf-8")))

    def evidence(self, dataset: Dataset) -> Evidenced:
        """Return the dataset's evidence, recording what is missing shard by shard."""
        assert self.where is not None, "prepare() comes first"
        asked = self._questions(dataset)
        self._record_missing(dataset, asked)
        evidence: dict[type[Evidence], Evidence] = {}
        passes: list[Pass] = []
        for name, kinds in self.groups.items():
            part = self.stores[name].load(asked, kinds)
            evidence |= part.evidence
            passes.append(Pass(kinds, part.traces, part.peak_memory_mib))
        return Evidenced(
            self.where.key,
            self.where.facts,
            Bundle(evidence),
            summed(passes),
            highest(passes),
            passes=tuple(passes),
        )

    def close(self) -> None:
        """Free the model, if one was loaded."""
        if self.model is not None:
            self.model.close()
            self.model = None

    def _questions(self, dataset: Dataset) -> list[str]:
        return [question(sample, self.chosen.spec) for sample in dataset.samples]

    def _use(self, description: Description) -> None:
        self.where = description
        folder = self.root / description.key
        self.stores = {n: EvidenceStore(folder / n, k) for n, k in self.groups.items()}

    def _loaded(self) -> Classifier:
        if self.model is None:
            self.model = self.chosen.spec.code()(self.chosen.options)
        return self.model

    @property
    def state_file(self) -> Path | None:
        """Where what a model learnt while recording is kept, once the key is known."""
        return self.root / self.where.key / STATE if self.where else None

    def _save_state(self, model: Classifier) -> None:
        assert self.state_file is not None
        if model.state:
            write_json(self.state_file, dict(model.state))

    def _record_missing(self, dataset: Dataset, asked: Sequence[str]) -> None:
        todo = {n: self.stores[n].missing(asked) for n in self.groups}
        total = sum(map(len, todo.values()))
        if not total:
            return
        by_question = dict(zip(asked, dataset.samples, strict=True))
        title = f"{self.chosen.label} on {dataset.label}"
        with progress(title, total) as tick:
            for name, questions in todo.items():
                self._record_shards(name, questions, by_question, tick)

    def _record_shards(
        self,
        name: str,
        questions: Sequence[str],
        by_question: dict[str, Sample],
        tick: Any,
    ) -> None:
        model = self._loaded()
        size = self.shard_size or model.shard_size
        kinds = self.groups[name]
        for start in range(0, len(questions), size):
            shard = questions[start : start + size]
            samples = [by_question[q] for q in shard]
            recording = model.record(samples, kinds, tick)
            self._check(recording, kinds, len(shard))
            if recording.peak_memory_mib is None:
                recording.peak_memory_mib = process_peak_mib()
            self._save_state(model)  # first: a shard on disk was recorded under it
            self.stores[name].add(shard, recording)

    def _check(
        self, recording: Recording, kinds: frozenset[type[Evidence]], size: int
    ) -> None:
        sizes = {k.__name__: len(v) for k, v in recording.evidence.items()}
        sizes["traces"] = len(recording.traces)
        missing = sorted(k.__name__ for k in kinds - recording.evidence.keys())
        if missing or set(sizes.values()) != {size}:
            raise SafebenchError(
                f"classifier {self.chosen.label!r} broke its contract: "
                f"{size} samples in, {sizes} out, missing {missing or 'nothing'}"
            )


def _groups(chosen: ChosenClassifier) -> dict[str, frozenset[type[Evidence]]]:
    """Return sub-stores: the default record whole, each kind on request alone."""
    default = frozenset(fields_by_kind(chosen.spec.provides))
    read = {k for s in chosen.strategies for k in sources(chosen.spec, s.spec)}
    extra = sorted(read - default, key=lambda kind: kind.__name__)
    groups = {PROBE: default} if default else {}
    return groups | {f"{PROBE}.{k.__name__}": frozenset({k}) for k in extra}


def process_peak_mib() -> float | None:
    """Return the most memory that this process has held, in MiB, if it can be known."""
    try:
        import resource
    except ImportError:  # not on every system
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes, or KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _plain(value: Any) -> Any:
    """Return a value as it reads back from JSON, so that stored and asked compare."""
    return json.loads(json.dumps(value, default=str))
