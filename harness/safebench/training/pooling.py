"""Combine the sources of a training into one dataset for each split.

Sources overlap: prompts repeat within and between them, with other labels, under other
ids and in other groups. Rows are therefore grouped across all sources first, a group
that stands in several splits is kept in one of them, and duplicates are merged last.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.datasets.loader import prompt_group
from safebench.datasets.preference_rows import PAIR_COLUMNS
from safebench.errors import DataError
from safebench.records import Dataset

from .split import SPLIT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.records import GroundTruth, Sample
    from safebench.specs import TrainerSpec

    LabelledSample = tuple[Sample, GroundTruth]
    Say = Callable[[str], None]

SAMPLES_PER_PAIR = 2


def pool_sources(
    sources: Mapping[str, Sequence[Dataset]], spec: TrainerSpec, say: Say
) -> dict[str, Dataset]:
    """Return one dataset for each split (train, val, test) that has `sources`.

    A group that is in several splits stays in the last of them only: a given test set
    stays whole and nothing of it is learnt. `say` gets a line about each kind of row
    that is left out. Raises `DataError` if a trainer of pairs gets none.
    """
    rows: list[tuple[str, LabelledSample]] = []
    row_splits: list[str] = []
    for split, datasets in sources.items():
        for dataset in datasets:
            labelled = _labelled_rows(dataset, spec, say)
            rows += [(dataset.label, row) for row in labelled]
            row_splits += [split] * len(labelled)
    regrouped = merge_groups(rows)
    # From the last split to the first: test keeps its groups, then val, then train.
    pools: dict[str, Dataset] = {}
    held_out: set[str] = set()
    for split in reversed(SPLIT_NAMES):
        members = [
            row for row, s in zip(regrouped, row_splits, strict=True) if s == split
        ]
        kept = [row for row in members if row[0].group not in held_out]
        held_out.update(sample.group for sample, _ in kept)
        if removed := len(members) - len(kept):
            say(f"{split}: {removed} rows are of groups held out: left out")
        if sources.get(split):
            if not spec.pairs:
                kept = _deduplicate_split(kept, split, say)
            pools[split] = _concatenate(sources[split], kept, split)
    return pools


def _labelled_rows(
    dataset: Dataset, spec: TrainerSpec, say: Say
) -> list[LabelledSample]:
    """Return the rows that have a label, and for trainers of pairs a partner."""
    rows = [
        (truncate_after_target(sample), truth)
        for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True)
        if truth.label.value is not None
    ]
    if unlabelled := len(dataset) - len(rows):
        say(f"{dataset.label}: {unlabelled} rows without a label: left out")
    if not spec.pairs:
        return rows
    pair_sizes = Counter(truth.pair[0] for _, truth in rows if truth.pair)
    paired = [
        (sample, truth)
        for sample, truth in rows
        if truth.pair and pair_sizes[truth.pair[0]] == SAMPLES_PER_PAIR
    ]
    if not paired:
        raise DataError(
            f"{dataset.label} holds no pairs, and {spec.name} learns from pairs of a "
            f"safer and a less safe response, as in {spec.dataset}; a file has them in "
            f"the columns prompt, {', '.join(PAIR_COLUMNS)}"
        )
    if unpaired := len(rows) - len(paired):
        say(f"{dataset.label}: {unpaired} rows are half a pair: left out")
    return paired


def truncate_after_target(sample: Sample) -> Sample:
    """Return the sample without the turns after the judged one.

    Later turns have no bearing on the label. Without them, a prompt that several models
    answered is the same text again and can be merged.
    """
    position = sample.target % len(sample.turns)
    return replace(sample, turns=sample.turns[: position + 1], target=-1)


def merge_groups(rows: Sequence[tuple[str, LabelledSample]]) -> list[LabelledSample]:
    """Return the rows (source, row) in groups that hold across sources.

    Rows are in one group if a chain of equal prompts, of groups of one source and of
    pairs connects them. The smallest prompt hash in a group is its name, which depends
    neither on the order of rows nor on how a source numbers its groups.
    """
    # Importing scipy takes longer than most commands, and this is called once.
    from scipy.cluster.hierarchy import DisjointSet

    linked = DisjointSet()
    prompts = [prompt_group(sample.turns) for _, (sample, _) in rows]
    for (source, row), prompt in zip(rows, prompts, strict=True):
        first, *others = _linking_keys(source, row, prompt)
        linked.add(first)
        for key in others:
            linked.add(key)
            linked.merge(first, key)
    names: dict[str, str] = {}
    for prompt in prompts:
        root = linked[f"prompt {prompt}"]
        names[root] = min(names.get(root, prompt), prompt)
    return [
        (replace(sample, group=names[linked[f"prompt {prompt}"]]), truth)
        for (_, (sample, truth)), prompt in zip(rows, prompts, strict=True)
    ]


def _linking_keys(source: str, row: LabelledSample, prompt: str) -> list[str]:
    """Return keys that a row shares with those it belongs with.

    Groups and pairs are numbered by their source, prompts are comparable everywhere.
    """
    sample, truth = row
    keys = [f"prompt {prompt}"]
    if sample.group and sample.group != prompt:
        keys.append(f"group {source} {sample.group}")
    if truth.pair:
        keys.append(f"pair {source} {truth.pair[0]}")
    return keys


def deduplicate(
    rows: Iterable[LabelledSample],
) -> tuple[list[LabelledSample], Counter[str]]:
    """Return one row for each content, and counts of what was merged.

    The label with the most weight wins, and `Label.votes` keeps the count of positive
    labels and of all; a content whose labels tie is left out. The row with the smallest
    id represents the others. Every row must have a label.
    """
    by_content: dict[str, list[LabelledSample]] = {}
    for row in rows:
        by_content.setdefault(row[0].content, []).append(row)
    kept: list[LabelledSample] = []
    counts: Counter[str] = Counter()
    for copies in by_content.values():
        labels = {truth.label.value for _, truth in copies}
        counts["duplicates merged"] += len(copies) - 1
        counts["with contradictory labels"] += len(labels) > 1
        merged = _majority_row(copies)
        if merged is None:
            counts["ties left out"] += 1
        else:
            kept.append(merged)
    return kept, +counts


def _majority_row(copies: list[LabelledSample]) -> LabelledSample | None:
    if len(copies) == 1:
        return copies[0]
    weights: dict[bool | None, float] = {}
    for _, truth in copies:
        label = truth.label
        weights[label.value] = weights.get(label.value, 0) + label.weight
    positive, negative = weights.get(True, 0.0), weights.get(False, 0.0)
    if positive == negative:
        return None
    winner = positive > negative
    agreeing = [row for row in copies if row[1].label.value is winner]
    # The smallest id, so that the order of rows and sources does not matter.
    sample, truth = min(agreeing, key=lambda row: row[0].id)
    votes = (sum(t.label.value is True for _, t in copies), len(copies))
    return sample, replace(truth, label=replace(truth.label, votes=votes))


def _deduplicate_split(
    rows: list[LabelledSample], split: str, say: Say
) -> list[LabelledSample]:
    kept, counts = deduplicate(rows)
    if counts:
        say(f"{split}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return kept


def _concatenate(
    datasets: Sequence[Dataset], rows: Sequence[LabelledSample], split: str
) -> Dataset:
    """Return rows of several datasets as one dataset with unique ids."""
    first = datasets[0]
    policies = {dataset.policy for dataset in datasets}
    return Dataset(
        name="+".join(dict.fromkeys(dataset.name for dataset in datasets)),
        config=first.config if len(datasets) == 1 else None,
        split=split,
        task=first.task,
        policy=first.policy if len(policies) == 1 else None,
        revision="+".join(dict.fromkeys(dataset.revision for dataset in datasets)),
        samples=_disambiguate_ids([sample for sample, _ in rows]),
        ground_truth=[truth for _, truth in rows],
        contaminates=frozenset().union(*(d.contaminates for d in datasets)),
    )


def _disambiguate_ids(samples: Sequence[Sample]) -> list[Sample]:
    """Append ``~1``, ``~2``, ... to ids that several sources use."""
    seen: Counter[str] = Counter()
    unique = []
    for sample in samples:
        repeat = seen[sample.id]
        seen[sample.id] += 1
        unique.append(replace(sample, id=f"{sample.id}~{repeat}") if repeat else sample)
    return unique
