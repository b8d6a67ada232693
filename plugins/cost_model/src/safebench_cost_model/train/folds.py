"""Folds of prompt groups: what a model is measured on, it has seen no prompt of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

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
        ordered = sorted(groups, key=lambda group: seeded_hash("fold", group, seed))
        folds |= {group: i % k for i, group in enumerate(ordered)}
    return folds


def seeded_hash(purpose: str, group: str, seed: int) -> str:
    """Return a hash to order groups by; that of one purpose tells nothing of another.

    Without the purpose, the first fold would have the prompts of the first part of val.
    """
    return hashlib.sha256(f"{purpose}\x1f{seed}\x1f{group}".encode()).hexdigest()
