"""Where the nodes of a session's trees lie in the KV cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    Array = np.ndarray[Any, np.dtype[Any]]

_FIELDS = ("row", "parent", "column", "depth")


class NodeTable:
    """Prompt, parent, place in the cache and depth of every node, by handle.

    A node right below the root has depth 1 and parent -1. The place is a column of the
    prompt's row, or a slot that is the node's alone, as the session likes.
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
        depths = np.where(parents < 0, 1, 1 + np.append(self.depth, 0)[parents])
        self._append((rows, parents, columns, depths))
        return np.arange(first, len(self))

    def draft(self, count: int, parents: Array, columns: Array) -> Array:
        """Append a static tree of n nodes for each of `count` prompts, all alike.

        `columns` (n,) are the same in every row; returns the nodes' depths, (n,).
        """
        depths = static_depths(parents)
        rows = np.repeat(np.arange(count), len(parents))
        first = rows * len(parents)
        above, at, deep = (np.tile(part, count) for part in (parents, columns, depths))
        self._append((rows, np.where(above < 0, -1, above + first), at, deep))
        return depths

    def join(self, other: NodeTable, rows: int) -> None:
        """Append another table, whose prompts are numbered from `rows` on."""
        first = len(self)
        parents = np.where(other.parent < 0, -1, other.parent + first)
        self._append((other.row + rows, parents, other.column, other.depth))

    def ancestors(self, nodes: Array) -> Iterator[tuple[Array, Array]]:
        """Yield, generation by generation, which of `nodes` have one and where."""
        which = np.arange(len(nodes))
        above = self.parent[nodes]
        while (known := above >= 0).any():
            which, above = which[known], above[known]
            yield which, self.column[above]
            above = self.parent[above]

    def _append(self, columns: tuple[Array, ...]) -> None:
        for name, more in zip(_FIELDS, columns, strict=True):
            setattr(self, name, np.concatenate([getattr(self, name), more]))


def static_depths(parents: Array) -> Array:
    """Return the depth of every node of a tree whose parents come first, (n,)."""
    depths = np.ones(len(parents), dtype=np.int64)
    for node, parent in enumerate(parents.tolist()):
        if parent >= 0:
            depths[node] = depths[parent] + 1
    return depths


def lineage(parents: Array) -> Array:
    """Say who sees whom in a tree whose parents come first: ancestors and self."""
    seen = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents.tolist()):
        if parent >= 0:
            seen[node] |= seen[parent]
    return seen
