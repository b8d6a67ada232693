"""The splits of a training: one dataset each, of all sources, in whole groups.

Sources overlap: prompts repeat within and between them, with other labels, under other
ids and in other groups. Rows are therefore grouped across all sources first, a group
that stands in several splits is kept in one of them, and duplicates are merged last.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.datasets.loader import prompt_group
from safebench.datasets.preference_rows import PAIR_COLUMNS
from safebench.datasets.splits import select_rows, stratify_groups
from safebench.errors import DataError, OptionError
from safebench.records import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safebench.records import GroundTruth, Sample
    from safebench.specs import TrainerSpec

    LabelledSample = tuple[Sample, GroundTruth]
    Say = Callable[[str], None]


SPLIT_NAMES = ("train", "val", "test")
SAMPLES_PER_PAIR = 2


def parse_shares(text: str) -> dict[str, float]:
    """Read ``70/15/15``, parts of any total, as shares of train, val and test.

    The shares add up to 1. Raises `OptionError` for other texts.
    """
    try:
        numbers = [float(piece) for piece in text.split("/")]
    except ValueError:
        numbers = []
    valid = all(0 < number < float("inf") for number in numbers)
    if len(numbers) != len(SPLIT_NAMES) or not valid:
        raise OptionError(
            f"split: three numbers above 0 such as 70/15/15, got {text!r}"
        )
    total = sum(numbers)
    return {name: n / total for name, n in zip(SPLIT_NAMES, numbers, strict=True)}


def split_by_group(
    dataset: Dataset, shares: Mapping[str, float], seed: int
) -> dict[str, Dataset]:
    """Return the splits of `dataset` by name, each with about its share of the rows.

    Groups stay whole. Those of one stratum (positive, negative, both) are put in the
    order of a seeded hash and cut by the shares, so every split has the dataset's mix
    of classes and nothing depends on the order of rows. In each stratum a split misses
    its share by less than the largest group.
    """
    rows_by_split: dict[str, list[int]] = {name: [] for name in shares}
    for groups in stratify_groups(dataset):
        ordered = sorted(groups, key=lambda group: group_hash(group, seed))
        sizes = [len(groups[group]) for group in ordered]
        for group, name in zip(ordered, _cut_by_shares(sizes, shares), strict=True):
            rows_by_split[name] += groups[group]
    return {
        name: replace(select_rows(dataset, sorted(rows)), split=name)
        for name, rows in rows_by_split.items()
    }


def _cut_by_shares(sizes: Sequence[int], shares: Mapping[str, float]) -> list[str]:
    """Return the split of each group in a row of groups of these sizes.

    The shares cut the row into stretches; a group belongs to the stretch in which its
    middle lies, which keeps the error below half a group at either end.
    """
    total, scale = sum(sizes), sum(shares.values())
    boundaries, boundary = [], 0.0
    for name, share in shares.items():
        boundary += share / scale
        boundaries.append((name, boundary))
    # The sum may end just below 1: the last split takes what is beyond it.
    last = boundaries[-1][0]
    names, before = [], 0
    for size in sizes:
        middle = (before + size / 2) / total
        names.append(next((name for name, end in boundaries if middle < end), last))
        before += size
    return names


def group_hash(group: str, seed: int) -> str:
    """Return the hash by which groups are ordered; it depends on the seed."""
    # With a prefix, since `subsample` orders groups by a hash as well: which groups it
    # keeps should not say in which split they end.
    return hashlib.sha256(f"split\x1f{seed}\x1f{group}".encode()).hexdigest()


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
            labelled = labelled_rows(dataset, spec, say)
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
        # Whole groups, since a near copy of a test row teaches the answer as well as
        # the row.
        kept = [row for row in members if row[0].group not in held_out]
        held_out.update(sample.group for sample, _ in kept)
        if removed := len(members) - len(kept):
            say(f"{split}: {removed} rows are of groups held out: left out")
        if sources.get(split):
            if not spec.pairs:
                kept = _deduplicate_split(kept, split, say)
            pools[split] = concatenate(sources[split], kept, split)
    return pools


def labelled_rows(
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
        # Half a pair is left when its other answer has no label, or was cut off by a
        # limit.
        if truth.pair and pair_sizes[truth.pair[0]] == SAMPLES_PER_PAIR
    ]
    if not paired:
        raise DataError(
            f"{dataset.label} holds no pairs, and {spec.name} learns from pairs of a "
            f"safer and a less safe response, as in {spec.dataset}; a file has them in "
            f"the columns prompt, {', '.join(PAIR_COLUMNS)}"
            + ("; --singles takes responses labelled alone" if spec.singles else "")
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
        # The smallest hash, and not the first: adding a source must not rename the
        # groups of the others.
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


def concatenate(
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
