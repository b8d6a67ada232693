"""Folds of prompt groups: what a model is measured on, it has seen no prompt of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.training import group_hash

if TYPE_CHECKING:
    from collections.abc import Iterable


def assign_folds(
    pair_groups: Iterable[str], single_groups: Iterable[str], k: int, seed: int
) -> dict[str, int]:
    """Return the fold, 0 to k - 1, of each prompt group.

    Groups with pairs are dealt out in the order of a seeded hash, and then those of
    single responses alone: where pairs lie does not depend on the singles.
    """
    with_pairs = set(pair_groups)
    folds: dict[str, int] = {}
    for groups in (with_pairs, set(single_groups) - with_pairs):
        # With a prefix: the cut into train, val and test orders groups by this hash.
        ordered = sorted(groups, key=lambda group: group_hash(f"fold {group}", seed))
        folds |= {group: i % k for i, group in enumerate(ordered)}
    return folds
