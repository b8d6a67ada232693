"""Cut labelled rows into train, validation and test parts, groups whole."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.records import Dataset

PARTS = ("train", "val", "test")


def parse_shares(text: str) -> dict[str, float]:
    """Read ``70/15/15``: what train, val and test get, adding up to anything."""
    try:
        numbers = [float(piece) for piece in text.split("/")]
    except ValueError:
        numbers = []
    wanted = len(PARTS)
    if len(numbers) != wanted or not all(0 < n < float("inf") for n in numbers):
        raise OptionError(
            f"split: three numbers above 0 such as 70/15/15, got {text!r}"
        )
    return {p: n / sum(numbers) for p, n in zip(PARTS, numbers, strict=True)}


def cut(dataset: Dataset, shares: Mapping[str, float], seed: int) -> dict[str, Dataset]:
    """Return the parts of `dataset` by name, each with about its share of the rows.

    Groups stay whole. Those of one class composition are put in the order of a seeded
    hash and dealt out along it, so each part has the classes in the dataset's mix and
    nothing depends on the order of rows. A part differs from its share by less than
    the largest group for each composition (at most three).
    """
    chosen: dict[str, list[int]] = {name: [] for name in shares}
    for groups in _strata(dataset):
        ordered = sorted(groups.items(), key=lambda item: group_hash(item[0], seed))
        for name, rows in _dealt([rows for _, rows in ordered], shares):
            chosen[name] += rows
    return {name: take(dataset, sorted(rows), name) for name, rows in chosen.items()}


def take(dataset: Dataset, rows: Sequence[int], split: str) -> Dataset:
    """Return some rows of a dataset as the split of that name."""
    return replace(
        dataset,
        split=split,
        samples=[dataset.samples[row] for row in rows],
        golds=[dataset.golds[row] for row in rows],
    )


def _strata(dataset: Dataset) -> list[dict[str, list[int]]]:
    """Return group -> rows, apart for groups of one class, the other, and both."""
    members: dict[str, list[int]] = {}
    for row, sample in enumerate(dataset.samples):
        members.setdefault(sample.group, []).append(row)
    strata: dict[frozenset[bool | None], dict[str, list[int]]] = {}
    for group, rows in members.items():
        classes = frozenset(dataset.golds[row].label.value for row in rows)
        strata.setdefault(classes, {})[group] = rows
    return list(strata.values())


def _dealt(
    groups: Sequence[list[int]], shares: Mapping[str, float]
) -> list[tuple[str, list[int]]]:
    """Give each group to the part in whose stretch of all rows its middle lies."""
    total, scale = sum(map(len, groups)), sum(shares.values())
    ends, end = [], 0.0
    for name, share in shares.items():
        end += share / scale
        ends.append((name, end))
    dealt, done = [], 0
    for rows in groups:
        middle = (done + len(rows) / 2) / total
        name = next((n for n, end in ends if middle < end), ends[-1][0])
        dealt.append((name, rows))
        done += len(rows)
    return dealt


def group_hash(group: str, seed: int) -> str:
    """Return the hash that orders groups; another seed, another order."""
    return hashlib.sha256(f"split\x1f{seed}\x1f{group}".encode()).hexdigest()
