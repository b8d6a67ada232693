"""Split a dataset into train, validation and test sets by whole groups, stratified."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.datasets.splits import select_rows, stratify_groups
from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.records import Dataset

SPLIT_NAMES = ("train", "val", "test")


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
