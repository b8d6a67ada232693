"""KV-cache columns: which one holds which tree node, and which are still needed.

A session appends columns level by level. When it takes over the prompts of another
session, both give up the columns of dropped prompts and nodes that nobody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.typing import Array

_FIELDS = ("row", "parent", "column", "depth")


class NodeTable:
    """Prompt, parent, cache column and depth of every node, by handle.

    A node right below the root has depth 1 and parent -1. `column` is a column of the
    prompt's row, or a slot of a cache of single tokens: the session decides.
    """

    def __init__(self) -> None:
        empty = np.empty(0, dtype=np.int64)
        self.row, self.parent, self.column, self.depth = (empty,) * 4

    def __len__(self) -> int:
        return len(self.parent)

    def add(self, rows: Array, parents: Array, columns: Array) -> Array:
        """Append nodes and return their handles; a parent of -1 is the root."""
        first = len(self)
        assert (parents < first).all(), "a node before its parent"
        # The appended 0 is what a parent of -1 indexes; `where` then ignores it.
        depths = np.where(parents < 0, 1, 1 + np.append(self.depth, 0)[parents])
        self._append((rows, parents, columns, depths))
        return np.arange(first, len(self))

    def add_draft(self, count: int, parents: Array, columns: Array) -> Array:
        """Append a static tree of n nodes for each of `count` prompts, all alike.

        `columns` (n,) are the same in every row; returns the nodes' depths, (n,).
        """
        depths = node_depths(parents)
        rows = np.repeat(np.arange(count), len(parents))
        first = rows * len(parents)  # handles count through all prompts' drafts
        parents, columns, deep = (np.tile(a, count) for a in (parents, columns, depths))
        self._append((rows, np.where(parents < 0, -1, parents + first), columns, deep))
        return depths

    def join(self, other: NodeTable, rows: int) -> None:
        """Append another table, whose prompts are numbered from `rows` on."""
        first = len(self)
        parents = np.where(other.parent < 0, -1, other.parent + first)
        self._append((other.row + rows, parents, other.column, other.depth))

    def ancestors(self, nodes: Array) -> Iterator[tuple[Array, Array]]:
        """Yield, parents first, which of `nodes` have an ancestor and its column."""
        which = np.arange(len(nodes))
        ancestor = self.parent[nodes]
        while (exists := ancestor >= 0).any():
            which, ancestor = which[exists], ancestor[exists]
            yield which, self.column[ancestor]
            ancestor = self.parent[ancestor]

    def _append(self, columns: tuple[Array, ...]) -> None:
        for name, more in zip(_FIELDS, columns, strict=True):
            setattr(self, name, np.concatenate([getattr(self, name), more]))


def node_depths(parents: Array) -> Array:
    """Return the depth of every node of a tree whose parents come first, (n,)."""
    depths = np.ones(len(parents), dtype=np.int64)
    for node, parent in enumerate(parents.tolist()):
        if parent >= 0:
            depths[node] = depths[parent] + 1
    return depths


class KeptColumns(NamedTuple):
    """The rows of a cache (R,) that are kept, and their columns (R, T) in new order.

    Of a row's columns the first `used_count` (R,) matter; the others hold anything.
    `new_column` (rows, T_old) is the new place of each old column that is used.
    """

    rows: Array
    columns: Array
    used_count: Array
    new_column: Array


def keep_used_columns(rows: Array, used: Array) -> KeptColumns:
    """Keep `rows` (indices), and of each the columns that `used` (rows, T) names."""
    new_column = np.cumsum(used, axis=1) - 1
    count = used[rows].sum(axis=1)
    # Stable: used columns come first, in the order in which they were written.
    order = np.argsort(~used[rows], axis=1, kind="stable")
    return KeptColumns(rows, order[:, : count.max(initial=0)], count, new_column)


def move_mask(mask: Array, kept: KeptColumns, width: int) -> Array:
    """Return a mask (rows, T_old) for the kept columns, (R, width)."""
    moved = np.zeros((len(kept.rows), width), dtype=bool)
    gathered = np.take_along_axis(mask[kept.rows], kept.columns, axis=1)
    moved[:, : gathered.shape[1]] = gathered
    moved[np.arange(width) >= kept.used_count[:, None]] = False
    return moved


def gather_columns(
    states: torch.Tensor, kept: KeptColumns, width: int, prefix: int = 0
) -> torch.Tensor:
    """Return the kept rows and columns (R, width - prefix, H, d) of (B, T, H, d).

    Columns that a row does not use hold zeros: what a buffer held before could be NaN,
    and 0 x NaN would reach every row. `states` lacks the first `prefix` columns, which
    all rows share.
    """
    rows = torch.from_numpy(kept.rows).to(states.device)
    columns = torch.from_numpy(kept.columns[:, prefix:] - prefix).to(states.device)
    gathered = states.new_zeros(len(rows), width - prefix, *states.shape[2:])
    gathered[:, : columns.shape[1]] = states[rows[:, None], columns]
    count = torch.from_numpy(kept.used_count - prefix).to(states.device)
    unused = torch.arange(width - prefix, device=states.device) >= count[:, None]
    gathered[unused] = 0
    return gathered
