"""The evidence of a run folder, with the ids of the samples that it is about.

Evidence is stored by what it depends on of a conversation, and not by id, so that
datasets can share it. A classifier whose evidence is about one turn and task is matched
by the hashes that predictions have; for others the datasets are read once more.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from safebench.errors import DataError, RunFolderError, SafebenchError, unknown_name
from safebench.evidence import Evidence
from safebench.evidence.manifest import MANIFEST_FILE, DamagedError, EvidenceManifest
from safebench.evidence.recording import Trace
from safebench.evidence.scope import SCOPES, sample_keys
from safebench.evidence.shard_file import check_shard
from safebench.evidence.store import EvidenceStore
from safebench.results.run_files import EVIDENCE_FOLDER
from safebench.specs import ClassifierSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.records import Sample
    from safebench.results import Row

    from .frames import Kind

MAIN_STORE = "main"  # others hold probes, which are about no sample of a dataset
_KEY = re.compile(r"[0-9a-f]{16}\Z")
_NO_DATASET = (
    "this classifier's evidence is shared by samples, and the dataset that says which "
    "could not be read again"
)
EVIDENCE_KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        ("id", "id_note", "dataset", "task", "classifier", "kind"), "string"
    ),
    **dict.fromkeys(("evidence_key", "sample_key"), "string"),
    "tokens_in": "int",
    "tokens_out": "int",
    "tokens_dropped": "int",
    "dropped_side": "string",
    "windows": "int",
    "forward_passes": "double",
    "seconds": "double",
    "raw": "string",
    "error": "string",
    "meta": "mapping",
}


class SampleId(NamedTuple):
    """A sample of a run: its dataset and split by name, task, id and content."""

    dataset: str
    split: str
    task: str
    id: str
    content: str


@dataclass(frozen=True, slots=True)
class StoredKind:
    """One kind of evidence in one folder of shards."""

    kind: type[Evidence]
    store: EvidenceStore


def evidence_keys(
    rows: Sequence[Row], classifier: str
) -> tuple[str, dict[str, set[tuple[str, str | None]]]]:
    """Return a classifier's label, and the keys of its evidence in a run's results.

    For each key, the datasets, by name and split, whose results were made of it.

    Without a name, the only classifier of the run is meant.
    """
    labels = list(dict.fromkeys(row.classifier for row in rows))
    named = [name for name in labels if name.casefold() == classifier.casefold()]
    if not classifier and len(labels) == 1:
        named = labels
    if not named:
        raise unknown_name("classifier in this run", classifier, labels)
    keys: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for row in rows:
        key = row.evidence_key or ""
        # a results file may come from anywhere: no key leads out of the folder
        if row.classifier == named[0] and _KEY.match(key):
            keys[key].add((row.dataset, row.split))
    if not keys:
        raise RunFolderError(
            f"the results do not say which evidence of {named[0]} they were made of: "
            "it failed, or an early version wrote them; repeat the command of the run"
        )
    return named[0], keys


def stored_kinds(
    folder: Path, key: str, plugins: Plugins, kind: str = ""
) -> list[StoredKind]:
    """Return the kinds of evidence below a key: all, or the one of that name.

    Raises `RunFolderError` if there is none, `DataError` for what is damaged.
    """
    place = folder / EVIDENCE_FOLDER / key
    if not (place / MANIFEST_FILE).is_file():
        raise RunFolderError(
            f"no evidence in {place}: the run folder came without it; the same "
            "`safebench run` records it again"
        )
    try:
        manifest = EvidenceManifest.read(place / MANIFEST_FILE)
    except DamagedError as error:
        raise DataError(f"{place / MANIFEST_FILE} {error}") from None
    # plugins declare kinds by their classes, so that all of them are imported by now
    plugins.get(ClassifierSpec, str(manifest.request.get("classifier")))
    known = {cls.kind_id: cls for cls in _subclasses(Evidence)}
    found = []
    for store in sorted(place.iterdir()):
        if not store.is_dir() or store.name.partition(".")[0] != MAIN_STORE:
            continue
        for kind_id in _kind_ids(store, key):
            if kind_id not in known:
                warnings.warn(
                    f"{store}: {kind_id} is of a plugin that is not installed",
                    stacklevel=5,
                )
                continue
            cls = known[kind_id]
            found.append(StoredKind(cls, EvidenceStore(store, {cls}, key)))
    names = [stored.kind.__name__ for stored in found]
    if kind and kind.casefold() not in {name.casefold() for name in names}:
        raise unknown_name("kind of evidence here", kind, names)
    return [
        s for s in found if not kind or s.kind.__name__.casefold() == kind.casefold()
    ]


def _kind_ids(store: Path, key: str) -> list[str]:
    """Return the kinds that the shards of a folder hold, by their stored names."""
    ids: dict[str, None] = {}
    for shard in sorted(store.glob("*.npz")):
        try:
            ids |= dict.fromkeys(check_shard(shard, (), key)["kinds"])
        except DamagedError as error:
            raise DataError(f"{shard} {error}: repeat the command of the run") from None
    return list(ids)


def _subclasses(cls: type[Evidence]) -> Iterator[type[Evidence]]:
    for below in cls.__subclasses__():
        yield below
        yield from _subclasses(below)


def evidence_records(
    stored: StoredKind, matched: MatchedSamples, label: str
) -> Iterator[dict[str, Any]]:
    """Yield one record a sample: what was recorded, in a column for each array.

    A key that is about no known sample has no id, and a note says why. An array is the
    rows of that sample, or a number where there is one for each sample.
    """
    keys = stored.store.keys()
    if not keys:
        return
    recording = stored.store.load(keys, [stored.kind])
    batch = recording.evidence[stored.kind]
    for row, (key, trace) in enumerate(zip(keys, recording.traces, strict=True)):
        recorded = {
            "classifier": label,
            "kind": stored.kind.__name__,
            "evidence_key": stored.store.key,
            "sample_key": key,
            **{f.name: getattr(trace, f.name) for f in fields(Trace)},
            "meta": batch.meta,
        }
        recorded |= {
            (f"evidence.{name}" if name in EVIDENCE_KINDS else name): (
                _cell(batch, name, row)
            )
            for name in batch.arrays
        }
        samples = matched.by_key.get(key, ())
        for sample in samples:
            yield recorded | {
                "id": sample.id,
                "id_note": matched.note,
                "dataset": sample.dataset,
                "task": sample.task,
            }
        if not samples:
            yield recorded | {"id_note": matched.missing}


def _cell(batch: Evidence, name: str, row: int) -> Any:
    dim, array = batch.leading_dim(name), batch[name]
    if dim != "B":
        start, end = batch.offsets[dim][row : row + 2]
        return array[start:end]
    return array[row].item() if array.ndim == 1 else array[row]


@dataclass(frozen=True, slots=True)
class MatchedSamples:
    """The samples that each key of evidence is about.

    `missing` says why other keys have none, `note` what to know of those that have.
    """

    by_key: Mapping[str, Sequence[SampleId]]
    missing: str
    note: str | None = None


def samples_by_key(
    keys: Iterable[str], samples: Sequence[SampleId], folder: Path, plugins: Plugins
) -> MatchedSamples:
    """Return the samples that each key of evidence is about.

    Keys of one turn and task name the content; of those that
    samples share the datasets are read again, since only they say which turn is judged.
    """
    keys = list(keys)
    narrow = [key.split(":") for key in keys if key.count(":") == 2]  # noqa: PLR2004 - content:target:task
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    for content, target, task in narrow:
        places[content, task].add(target)
    shared = len(narrow) < len(keys) or any(len(t) > 1 for t in places.values())
    if shared:
        return _by_datasets(set(keys), samples, folder, plugins)
    found: dict[str, list[SampleId]] = defaultdict(list)
    for sample in samples:
        for target in places.get((sample.content, sample.task), ()):
            found[f"{sample.content}:{target}:{sample.task}"].append(sample)
    return MatchedSamples(found, "its sample has no predictions in this run")


def _key_of(sample: Sample, keys: set[str]) -> str | None:
    """Return which of the stored keys is that of a sample, the narrowest first."""
    for scope in SCOPES:
        for key in reversed(sample_keys(sample, scope)):
            if key in keys:
                return key
    return None


def _by_datasets(
    keys: set[str], samples: Sequence[SampleId], folder: Path, plugins: Plugins
) -> MatchedSamples:
    from safebench.pipeline.config import load_run_config
    from safebench.pipeline.evaluation_set import load_evaluation_sets
    from safebench.results.run_files import CONFIG_FILE, check_unchanged

    path = folder / CONFIG_FILE
    found: dict[str, list[SampleId]] = defaultdict(list)
    # without the configuration, which may be the task: a file's name for one of several
    left = set(samples)
    reasons = []
    try:
        check_unchanged(path)
        config = replace(load_run_config(path, {}), limit=None)
    except (SafebenchError, OSError) as error:
        return _by_content(keys, samples, str(error))
    for name in config.datasets:
        try:
            sets = load_evaluation_sets(
                replace(config, datasets=(name,), skip_missing=True), plugins
            )
        except SafebenchError as error:
            reasons.append(error.message.partition("\n")[0])
            continue
        for dataset in (part.dataset for part in sets):
            names = (dataset.name, dataset.split, dataset.task)
            for sample in dataset.samples:
                of_run = SampleId(*names, sample.id, sample.content)
                key = _key_of(sample, keys) if of_run in left else None
                if key is not None:
                    found[key].append(of_run)
                    left.remove(of_run)
    if reasons:
        return _by_content(keys, samples, "; ".join(reasons))
    return MatchedSamples(
        found, "its sample has no predictions in this run, or is not in its data now"
    )


def _by_content(
    keys: set[str], samples: Sequence[SampleId], reason: str
) -> MatchedSamples:
    """Match samples without their data, if all contents and all keys are the same.

    A key of a conversation's first turns is the content of a sample that has no others.
    Where no content and no key is left over, each sample that is the only one of its
    content is judged at its end: one judged earlier would leave its own content to the
    key of a longer one, of which none is left at last. The note says what is assumed of
    the others.
    """
    by_content = {key.partition(":")[0]: key for key in keys}
    if {s.content for s in samples} != by_content.keys() or len(by_content) < len(keys):
        return MatchedSamples({}, f"{_NO_DATASET} ({reason})")
    found: dict[str, list[SampleId]] = defaultdict(list)
    for sample in samples:
        found[by_content[sample.content]].append(sample)
    return MatchedSamples(
        found,
        "",
        "matched by content, as if each conversation were judged at its end: its data "
        f"could not be read again ({reason})",
    )
