"""Datasets as a run takes them: limited, and with a calibration part set aside."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from safebench.datasets.pack import expand_packs
from safebench.datasets.request import WHOLE
from safebench.datasets.resolve import resolve_dataset
from safebench.datasets.rows import DOCUMENT_TASK
from safebench.datasets.splits import calibration_ids, describe_lost_classes, subsample
from safebench.errors import DataError, OptionError, SafebenchError, did_you_mean
from safebench.record_columns import UNKNOWN
from safebench.records import RESPONSE_TASKS

from .config import DEFAULT_DATASET
from .kept_columns import ColumnsToKeep, load_with_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.datasets import DatasetRequest
    from safebench.datasets.pack import Pack
    from safebench.plugins import Plugins
    from safebench.records import Dataset
    from safebench.typing import Array

    from .config import RunConfig


@dataclass(frozen=True, slots=True)
class UsedPack:
    """A pack in a run; `missing` says of each set that is left out why it is."""

    pack: Pack
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NamedDataset:
    """A dataset of a run as it was named, and the packs that it stands in."""

    text: str
    request: DatasetRequest
    packs: tuple[Pack, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A dataset as it will run: all that is judged, and what metrics leave out.

    `calibration_ids` are the samples that are held out from metrics, to fit thresholds
    and calibration on. `unlimited` is the dataset before a limit, None if there is
    none. `notes` are for the user: what was decided about the data, or left out.
    `packs` are those that it was named by, `to_keep` columns that are not stored yet.
    """

    dataset: Dataset
    calibration_ids: frozenset[str] = frozenset()
    is_default_split: bool = False
    unlimited: Dataset | None = None
    notes: tuple[str, ...] = ()
    packs: tuple[UsedPack, ...] = ()
    to_keep: ColumnsToKeep | None = None
    _held_out: list[Array] = field(default_factory=list, compare=False, repr=False)

    @property
    def held_out(self) -> Array:
        """Which samples belong to the calibration part, (n,) bool."""
        if not self._held_out:
            ids = self.calibration_ids
            flags = (sample_id in ids for sample_id in self.dataset.columns.ids)
            self._held_out.append(np.fromiter(flags, bool, len(self.dataset)))
        return self._held_out[0]

    @property
    def source(self) -> Dataset:
        """All rows of the dataset: what a run folder is about, whatever the limit."""
        return self.unlimited or self.dataset

    def with_config(self, config: str | None) -> EvaluationSet:
        """Return the set under a label with another config."""
        if config == self.dataset.config:
            return self
        dataset = _with_config(self.dataset, config)
        whole = self.unlimited
        if whole is not None:
            is_all = whole is self.dataset
            whole = dataset if is_all else _with_config(whole, config)
        return replace(self, dataset=dataset, unlimited=whole)

    @property
    def short_label(self) -> str:
        """The dataset's label, without the split that is meant when none is said."""
        label = self.dataset.label
        return label.rpartition(":")[0] if self.is_default_split else label

    @property
    def folder_label(self) -> str:
        """What names it in a run folder's name: its pack, or its own short label."""
        return f"pack-{self.packs[0].pack.id}" if self.packs else self.short_label

    @property
    def n_calibration(self) -> int:
        """How many of the samples belong to the calibration part."""
        return int(self.held_out.sum())


def _with_config(dataset: Dataset, config: str | None) -> Dataset:
    """Return a dataset with another config, and with the hashes that it knows."""
    renamed = replace(dataset, config=config)
    for name, value in vars(dataset).items():
        vars(renamed).setdefault(name, value)
    return renamed


def load_evaluation_sets(
    config: RunConfig,
    plugins: Plugins,
    folder_for: Callable[[Sequence[str]], Path] | None = None,
) -> list[EvaluationSet]:
    """Read every dataset of a run; raises before any model is loaded.

    `folder_for` gives the run folder for the labels of the datasets; there are columns
    of files that were read before.

    Sets of packs that cannot be read are named all at once; with
    ``config.skip_missing`` they are left out, and the other sets of the pack say so.
    """
    named = name_datasets(config.datasets or (DEFAULT_DATASET,), config, plugins)
    _check_revisions(config.revisions, [dataset.request for dataset in named])
    folder = folder_for and folder_for([*dict.fromkeys(map(_folder_label, named))])
    loaded: list[tuple[NamedDataset, EvaluationSet]] = []
    missing: list[tuple[NamedDataset, str]] = []
    for dataset in named:
        try:
            loaded.append((dataset, _load_evaluation_set(dataset, config, folder)))
        except DataError as error:
            if not dataset.packs:
                raise
            missing.append((dataset, error.message))
    if missing:
        _check_missing(missing, named, skip=bool(config.skip_missing))
    sets = _disambiguate(_with_packs(loaded, missing))
    return [
        replace(s, notes=(*s.notes, *_label_conflicts(s.dataset, sets[:i])))
        for i, s in enumerate(sets)
    ]


def name_datasets(
    texts: Iterable[str], config: RunConfig, plugins: Plugins
) -> list[NamedDataset]:
    """Return the datasets that texts name, those of packs in their places.

    A dataset that stands in several packs, or beside one, occurs once. Two texts that
    say the same without a pack stay two, which is refused later.
    """
    named: dict[int, NamedDataset] = {}
    for text, pack in expand_packs(texts):
        request = _resolve(text, pack, config, plugins)
        packs = (pack,) if pack else ()
        same = (
            place
            for place, other in named.items()
            if other.request == request and (packs or other.packs)
        )
        place = next(same, len(named))
        known = named.get(place, NamedDataset(text, request))
        union = tuple(dict.fromkeys((*known.packs, *packs)))
        named[place] = replace(known, packs=union)
    return list(named.values())


def _check_revisions(
    revisions: Mapping[str, str], requests: Sequence[DatasetRequest]
) -> None:
    """Raise `OptionError` for a commit of a set that this run does not read."""
    names = dict.fromkeys(
        name
        for request in requests
        for part in (request.parts or (request,))
        for name in (
            *((part.spec.name, part.spec.hub_id) if part.spec.hub_id else ()),
            *((part.source,) if part.spec.name == "hub" else ()),
        )
        if name
    )
    for name in revisions:
        if not names:
            raise OptionError("--revision: this run reads no set of the hub")
        if name and name not in names:
            raise OptionError(
                f"--revision {name}=...: this run does not read it"
                f"{did_you_mean(name, names)} (it reads: {', '.join(names)})"
            )


def _resolve(
    text: str, pack: Pack | None, config: RunConfig, plugins: Plugins
) -> DatasetRequest:
    try:
        return resolve_dataset(
            text,
            plugins,
            data_root=config.data_root,
            on_bad_row=config.on_bad_row,
            label_map=config.label_map,
            revisions=config.revisions,
            strict=config.strict_data,
        )
    except SafebenchError as error:
        if pack is None:
            raise
        raise type(error)(f"pack {pack.name}: {error.message}") from None


def _check_missing(
    missing: Sequence[tuple[NamedDataset, str]],
    named: Sequence[NamedDataset],
    *,
    skip: bool,
) -> None:
    """Raise `DataError` for sets that cannot be read, with what would work."""
    packs = dict.fromkeys(pack.name for d, _ in missing for pack in d.packs)
    n_in_packs = sum(bool(dataset.packs) for dataset in named)
    reasons = "\n  ".join(f"{d.text}: {reason}" for d, reason in missing)
    nothing_left = len(missing) == len(named)
    if skip and not nothing_left:
        return
    hint = "" if nothing_left else "\n--skip-missing goes on without them"
    raise DataError(
        f"{len(missing)} of {n_in_packs} sets of pack {', '.join(packs)} cannot be "
        f"read\n  {reasons}{hint}"
    )


def _with_packs(
    loaded: Iterable[tuple[NamedDataset, EvaluationSet]],
    missing: Sequence[tuple[NamedDataset, str]],
) -> Iterator[EvaluationSet]:
    """Yield the sets with their packs, and with notes on what a pack lacks."""
    noted = set()
    for dataset, evaluation_set in loaded:
        notes = list(evaluation_set.notes)
        packs = []
        for pack in dataset.packs:
            lacks = {d.text: why for d, why in missing if pack in d.packs}
            packs.append(UsedPack(pack, lacks))
            if lacks and pack not in noted:
                reasons = "\n  ".join(f"{text}: {why}" for text, why in lacks.items())
                notes.append(f"pack {pack.name} is run without\n  {reasons}")
            if pack.whole_turns and pack not in noted:
                names = {entry.dataset for entry in pack.entries}
                whole = [text for text in pack.datasets if text not in names]
                notes.append(
                    f"pack {pack.name}: turns=all is for {', '.join(whole) or 'none'} "
                    "of its sets, which may hold conversations of users"
                )
            noted.add(pack)
            source, spec = evaluation_set.source, dataset.request.spec
            n_rows = len(source) + source.counts.get("skipped", 0)
            rows = pack.rows_of(dataset.text)
            # of a set with a card it is said already how many rows were expected
            known = spec.card is not None and dataset.request.split in spec.card.rows
            if rows is not None and rows != n_rows and not known:
                notes.append(
                    f"{evaluation_set.dataset.label}: {n_rows:,} rows, where pack "
                    f"{pack.name} counts {rows:,}: numbers of other runs of the pack "
                    "may be about other rows"
                )
        yield replace(evaluation_set, notes=tuple(notes), packs=tuple(packs))


def _label_conflicts(
    dataset: Dataset, others: Sequence[EvaluationSet]
) -> Iterator[str]:
    """Yield a note for each of other datasets that contradicts this one.

    Evidence about a conversation is shared; the labels stay those of each dataset.
    """
    alike = [s.dataset for s in others if s.dataset.task == dataset.task]
    labels = _known_labels(dataset) if alike else {}
    for other in alike:
        theirs = _known_labels(other)
        n = sum(labels[c] != theirs[c] for c in labels.keys() & theirs.keys())
        if n:
            yield (
                f"{n} {'conversation has' if n == 1 else 'conversations have'} other "
                f"labels in {dataset.label} than in {other.label} ({dataset.task}): "
                "each dataset is measured by its own"
            )


def _known_labels(dataset: Dataset) -> dict[tuple[str, int], set[bool]]:
    """Return the labels of each judged turn, by the text of its conversation."""
    labels: dict[tuple[str, int], set[bool]] = {}
    columns = dataset.columns
    rows = zip(
        columns.hex_contents(),
        columns.target.tolist(),
        columns.value.tolist(),
        strict=True,
    )
    for content, target, value in rows:
        if value != UNKNOWN:
            labels.setdefault((content, target), set()).add(value == 1)
    return labels


def _folder_label(named: NamedDataset) -> str:
    """Return `EvaluationSet.folder_label` of a set that is not read yet.

    Sets of one label are told apart once they are read: their columns are not found.
    """
    if named.packs:
        return f"pack-{named.packs[0].id}"
    request = named.request
    if request.split != next(iter(request.spec.splits), request.split):
        return request.label
    return request.label.rpartition(":")[0]


def _load_evaluation_set(
    named: NamedDataset, config: RunConfig, folder: Path | None
) -> EvaluationSet:
    request = named.request
    loaded = load_with_columns(request, folder)
    whole, notes = loaded.dataset, [*loaded.messages]
    if n_unknown := whole.counts.get("unknown_labels"):
        notes.append(
            f"{whole.label}: {n_unknown} of {len(whole)} rows have no known label: "
            "metrics leave them out"
        )
    if n_conflicting := whole.counts.get("conflicting_duplicates"):
        occur = "conversation occurs" if n_conflicting == 1 else "conversations occur"
        notes.append(
            f"{whole.label}: {n_conflicting} {occur} more than once, with different "
            "labels: no guard can be right about all of these rows"
        )
    if n_contradicting := whole.counts.get("label_conflicts"):
        notes.append(
            f"{whole.label}: {n_contradicting} of {len(whole)} rows have a label that "
            "their categories contradict: metrics of either take them as they are"
        )
    n_bare = int((~whole.columns.documents).sum())
    if whole.task == DOCUMENT_TASK and n_bare:
        notes.append(
            f"{whole.label}: {n_bare} of {len(whole)} rows have no documents: their "
            "responses are held against the conversation alone"
        )
    if note := _turns_note(whole, request):
        notes.append(note)
    # before the limit is applied: a sample stays in its part whatever the limit
    held_out = calibration_ids(whole, config.calibration_fraction)
    dataset = subsample(whole, config.limit, config.seed) if config.limit else whole
    if dataset.mix and len(dataset) < len(whole):
        mix = f"{dataset.mix}, before --limit {config.limit}"
        dataset = replace(dataset, mix=mix)
    if lost := describe_lost_classes(whole, dataset, held_out, config.seed):
        notes.append(f"{dataset.label}: {lost}")
    default_split = next(iter(request.spec.splits), request.split)
    return EvaluationSet(
        dataset,
        held_out,
        request.split == default_split,
        whole,
        tuple(notes),
        to_keep=loaded.to_keep,
    )


def _turns_note(dataset: Dataset, request: DatasetRequest) -> str:
    """Say which turns are judged where a user says several things; "" if nobody does.

    Guards differ in what they read of the turns before: some read none of them.
    """
    if request.turns == "all":
        return f"{dataset.label}: conversations are judged whole, as one text each"
    if dataset.task in RESPONSE_TASKS or request.parts:
        return ""
    n_several = int(dataset.columns.several.sum())
    if not n_several:
        return ""
    return (
        f"{dataset.label}: {n_several} of {len(dataset)} conversations have several "
        f"user turns: the last one is judged; append ,{WHOLE} to judge them whole"
    )


def _disambiguate(loaded: Iterable[EvaluationSet]) -> list[EvaluationSet]:
    """Give sets of one label (one file, several tasks) the task as their config."""
    sets = list(loaded)
    times = Counter(s.dataset.label for s in sets)
    distinct = [
        s.with_config(s.dataset.task) if times[s.dataset.label] > 1 else s for s in sets
    ]
    _check_distinct(distinct)
    return distinct


def label_as_stored(
    sets: Sequence[EvaluationSet], tasks: Mapping[str, str]
) -> list[EvaluationSet]:
    """Call the sets of one file as a run folder calls them.

    `tasks` are those of the datasets in the folder, by label: its first task may have
    been the only one then, and another one may be alone now.
    """
    labelled = [_label_as_stored(s, tasks) for s in sets]
    _check_distinct(labelled)
    return labelled


def _label_as_stored(
    evaluation_set: EvaluationSet, tasks: Mapping[str, str]
) -> EvaluationSet:
    task = evaluation_set.dataset.task
    if evaluation_set.dataset.config not in (None, task):
        return evaluation_set
    plain, by_task = (evaluation_set.with_config(c) for c in (None, task))
    for candidate in (by_task, plain):
        if tasks.get(candidate.dataset.label) == task:
            return candidate
    return by_task if plain.dataset.label in tasks else evaluation_set


def _check_distinct(sets: Sequence[EvaluationSet]) -> None:
    for label, n in Counter(s.dataset.label for s in sets).items():
        if n > 1:
            raise OptionError(f"{n} datasets would be called {label}: rename one file")
