"""Responses labelled alone, to be learnt from beside pairs of responses.

They join the training rows after the split, so that what is validated and tested on is
the same with and without them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.errors import DataError

from .splits import SPLIT_NAMES, concatenate, labelled_rows, merge_groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.records import Dataset
    from safebench.specs import TrainerSpec

    from .splits import LabelledSample, Say

_PAIRS = "pairs"  # the source of rows that are grouped across their sources already


def attach_singles(
    sources: Sequence[Dataset],
    splits: Mapping[str, Dataset],
    spec: TrainerSpec,
    say: Say,
) -> tuple[Dataset, Dataset]:
    """Return the training rows and the single responses, in groups that both share.

    A response is left out if a chain of equal prompts and of groups connects it with a
    row of val or test: it would teach what they measure. `say` gets a line of counts.
    Raises `DataError` if no response is left.
    """
    by_owner = _grouped_together(sources, splits, spec, say)
    held_out = {row.group for name in ("val", "test") for row, _ in by_owner[name]}
    singles = by_owner["singles"]
    kept = [row for row in singles if row[0].group not in held_out]
    positive = sum(truth.label.value is True for _, truth in kept)
    removed = len(singles) - len(kept)
    say(
        f"singles {len(kept)} rows ({positive} positive)"
        + (f"; {removed} share a prompt with val or test: left out" if removed else "")
    )
    if not kept:
        raise DataError("singles: no response is left to learn from")
    train = splits["train"]
    train_rows = [row for row, _ in by_owner["train"]]
    return replace(train, samples=train_rows), concatenate(sources, kept, "singles")


def _grouped_together(
    sources: Sequence[Dataset],
    splits: Mapping[str, Dataset],
    spec: TrainerSpec,
    say: Say,
) -> dict[str, list[LabelledSample]]:
    """Return the rows of each split and those of singles, in groups across all."""
    by_owner: dict[str, list[LabelledSample]] = {
        name: [] for name in (*SPLIT_NAMES, "singles")
    }
    owners: list[str] = []
    rows: list[tuple[str, LabelledSample]] = []
    for name in SPLIT_NAMES:
        pairs = zip(splits[name].samples, splits[name].ground_truth, strict=True)
        # Without their pairs, whose two rows have one group already.
        rows += [(_PAIRS, (row, replace(truth, pair=None))) for row, truth in pairs]
        owners += [name] * len(splits[name])
    for dataset in sources:
        # As of a trainer without pairs: one labelled response is a whole row.
        single = labelled_rows(dataset, replace(spec, pairs=False), say)
        rows += [
            (f"single {dataset.label}", (row, replace(truth, pair=None)))
            for row, truth in single
        ]
        owners += ["singles"] * len(single)
    for owner, row in zip(owners, merge_groups(rows), strict=True):
        by_owner[owner].append(row)
    return by_owner
