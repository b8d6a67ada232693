"""Rows of several sources as one pool a part: labelled, merged, none in two parts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.datasets.pair_rows import COLUMNS
from safebench.errors import DataError
from safebench.records import Dataset

from .clusters import regrouped
from .merge import merged, up_to_target
from .split import PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.records import Gold, Sample
    from safebench.specs import TrainerSpec

    Row = tuple[Sample, Gold]
    Say = Callable[[str], None]

SIDES = 2  # of a pair


def pools_of(
    read: Mapping[str, Sequence[Dataset]], spec: TrainerSpec, say: Say
) -> dict[str, Dataset]:
    """Return one dataset for each part that has sources; `say` is told what went.

    Groups that a later part holds are taken out of the earlier ones, so that a given
    test set stays whole and nothing of it is learnt.
    """
    told: list[tuple[str, Row]] = []
    places: list[str] = []
    for part, datasets in read.items():
        for dataset in datasets:
            rows = _usable(dataset, spec, say)
            told += [(dataset.label, row) for row in rows]
            places += [part] * len(rows)
    grouped = regrouped(told)
    pools: dict[str, Dataset] = {}
    held: set[str] = set()
    for part in reversed(PARTS):
        rows = [r for r, place in zip(grouped, places, strict=True) if place == part]
        free = [row for row in rows if row[0].group not in held]
        held.update(sample.group for sample, _ in free)
        if len(free) < len(rows):
            taken = len(rows) - len(free)
            say(f"{part}: {taken} rows are of groups held back: left out")
        if read.get(part):
            kept = free if spec.pairs else _without_duplicates(free, part, say)
            pools[part] = _joined(read[part], kept, part)
    return pools


def _usable(dataset: Dataset, spec: TrainerSpec, say: Say) -> list[Row]:
    """Return the rows with a label (and, for pairs, with both sides of the pair)."""
    rows = [
        (up_to_target(sample), gold)
        for sample, gold in zip(dataset.samples, dataset.golds, strict=True)
        if gold.label.value is not None
    ]
    if unlabelled := len(dataset) - len(rows):
        say(f"{dataset.label}: {unlabelled} rows without a label: left out")
    if not spec.pairs:
        return rows
    sides = Counter(gold.pair[0] for _, gold in rows if gold.pair)
    whole = [row for row in rows if row[1].pair and sides[row[1].pair[0]] == SIDES]
    if not whole:
        raise DataError(
            f"{dataset.label} holds no pairs, and {spec.name} learns from pairs of a "
            f"safer and a less safe response, as in {spec.dataset}; a file has them in "
            f"the columns prompt, {', '.join(COLUMNS)}"
        )
    if halves := len(rows) - len(whole):
        say(f"{dataset.label}: {halves} rows are half a pair: left out")
    return whole


def _without_duplicates(rows: list[Row], part: str, say: Say) -> list[Row]:
    kept, counts = merged(rows)
    if counts:
        say(f"{part}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return kept


def _joined(datasets: Sequence[Dataset], rows: Sequence[Row], part: str) -> Dataset:
    """Return rows of several datasets as one, repeated ids told apart."""
    first = datasets[0]
    alone = len(datasets) == 1
    return Dataset(
        name="+".join(dict.fromkeys(d.name for d in datasets)),
        config=first.config if alone else None,
        split=part,
        task=first.task,
        policy=first.policy if len({d.policy for d in datasets}) == 1 else None,
        revision="+".join(dict.fromkeys(d.revision for d in datasets)),
        samples=_told_apart([sample for sample, _ in rows]),
        golds=[gold for _, gold in rows],
        contaminates=frozenset().union(*(d.contaminates for d in datasets)),
    )


def _told_apart(samples: Sequence[Sample]) -> list[Sample]:
    seen: Counter[str] = Counter()
    apart = []
    for sample in samples:
        repeat = seen[sample.id]
        seen[sample.id] += 1
        apart.append(replace(sample, id=f"{sample.id}~{repeat}") if repeat else sample)
    return apart
