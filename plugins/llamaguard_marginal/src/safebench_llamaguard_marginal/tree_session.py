"""One row a prompt: its tree's nodes share the row, and a mask keeps them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .columns import moved, picked, used_columns
from .nodes import NodeTable, lineage
from .packed import PackedCache
from .padding import drafted_mask, left_padded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import DynamicCache

    from .columns import Kept
    from .hf_model import HfModel

    Array = np.ndarray[Any, np.dtype[Any]]

_NO_DRAFT = np.empty(0, dtype=np.int64)


class TreeSession:
    """B prompts, prefilled, perhaps with a draft; their KV cache grows level by level.

    Queries see their own prompt, their ancestors and themselves, by a mask (B, Q, T).
    """

    def __init__(
        self,
        model: HfModel,
        prompts: Sequence[tuple[int, ...]],
        parents: Array = _NO_DRAFT,
        tokens: Array = _NO_DRAFT,
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._lengths = np.array([len(prompt) for prompt in prompts])
        self._alive = np.arange(len(prompts))  # the prompt in each row of the cache
        self._dropped: set[int] = set()
        self._nodes = NodeTable()
        self._columns: Array = np.empty(0)  # (rows, T): prompt columns to attend to
        self._roots, self._drafted = self._prefill(parents, tokens)

    def roots(self) -> Array:
        """Return the logits after each prompt, (B, V)."""
        return self._roots

    def drafted(self) -> Array:
        """Return the logits at the draft's nodes after each prompt, (B, n, V)."""
        return self._drafted

    def _prefill(self, parents: Array, drafted: Array) -> tuple[Array, Array]:
        count, layers = self._model.prefix(self._prompts)
        rows, extra = len(self._prompts), len(parents)
        self._cache = self._model.cache(layers, rows)
        tokens, real = left_padded([prompt[count:] for prompt in self._prompts])
        width = tokens.shape[1]
        before = np.ones((rows, count), dtype=bool)
        self._columns = np.concatenate([before, real], axis=1)
        places = np.maximum(np.cumsum(real, axis=1) - 1, 0)
        visible = drafted_mask(self._columns, width, lineage(parents))
        deep = self._nodes.draft(rows, parents, count + width + np.arange(extra))
        below = self._lengths[:, None] + deep - 1
        self._grow(extra)
        shape = (rows, extra)
        real = np.concatenate([real, np.ones(shape, dtype=bool)], axis=1)
        self._place(real)
        logits = self._model.forward(
            np.concatenate([tokens, np.broadcast_to(drafted, shape)], axis=1),
            np.concatenate([np.where(real[:, :width], count + places, 0), below], 1),
            visible,
            self._cache,
            np.broadcast_to(np.arange(width + extra) >= width - 1, real.shape),
        )
        found = logits.reshape(rows, 1 + extra, -1)
        return found[:, 0], found[:, 1:]

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Array:
        """Run new nodes in one forward pass and return their logits, (Q, V)."""
        rows = np.asarray(rows, dtype=np.int64)
        assert (rows[1:] >= rows[:-1]).all(), f"rows not ascending: {rows}"
        self._compact(rows)
        at = np.searchsorted(self._alive, rows)  # row of the cache
        assert (self._alive[at] == rows).all(), f"dropped rows in {rows}"
        slots = np.arange(len(rows)) - np.searchsorted(rows, rows)
        width = int(slots.max()) + 1
        shape = (len(self._alive), width)
        start = self._columns.shape[1]
        parents = np.asarray(parents, dtype=np.int64)
        nodes = self._nodes.add(rows, parents, start + slots)
        ids, positions = np.zeros((2, *shape), dtype=np.int64)
        ids[at, slots] = tokens
        positions[at, slots] = self._lengths[rows] + self._nodes.depth[nodes] - 1
        wanted = np.zeros(shape, dtype=bool)
        wanted[at, slots] = True
        visible = self._level_mask(at, slots, nodes, width)
        self._place(wanted)
        logits = self._model.forward(ids, positions, visible, self._cache, wanted)
        self._grow(width)
        return logits

    def _grow(self, width: int) -> None:
        """Note new tree columns: they are seen by descendants alone."""
        grown = np.zeros((len(self._columns), width), dtype=bool)
        self._columns = np.concatenate([self._columns, grown], axis=1)

    def _level_mask(self, at: Array, slots: Array, nodes: Array, width: int) -> Array:
        """Return (rows, width, T): prompt, ancestors and self; padding sees itself."""
        start = self._columns.shape[1]
        visible = np.zeros((len(self._alive), width, start + width), dtype=bool)
        visible[:, :, :start] = self._columns[:, None]
        visible[:, np.arange(width), start + np.arange(width)] = True
        for which, columns in self._nodes.ancestors(nodes):
            visible[at[which], slots[which], columns] = True
        return visible

    def _place(self, real: Array) -> None:
        """Tell a cache that leaves padding out which queries (B, Q) are real."""
        if isinstance(self._cache, PackedCache):
            self._cache.real = real

    def drop(self, rows: Array) -> None:
        """Free prompts; the cache shrinks once a quarter of its rows is unused."""
        self._dropped.update(np.asarray(rows).tolist())

    def join(self, other: TreeSession) -> None:
        """Take over the prompts of `other`; both lose the columns that nobody needs."""
        mine, theirs = self._kept(), other._kept()
        width = max(mine.columns.shape[1], theirs.columns.shape[1])
        if isinstance(self._cache, PackedCache):
            assert isinstance(other._cache, PackedCache)
            self._cache.join(mine, other._cache, theirs, width)
        else:
            _join(self._cache, mine, other._cache, theirs, width)
        self._columns = np.concatenate(
            [
                moved(self._columns, mine, width),
                moved(other._columns, theirs, width),
            ]
        )
        self._renumber(mine)
        other._renumber(theirs)
        first = len(self._prompts)
        self._alive = np.concatenate(
            [self._alive[mine.rows], first + other._alive[theirs.rows]]
        )
        self._nodes.join(other._nodes, first)
        self._prompts = [*self._prompts, *other._prompts]
        self._lengths = np.concatenate([self._lengths, other._lengths])

    def _kept(self) -> Kept:
        """Keep the rows of live prompts, and the columns of prompts and nodes."""
        used = self._columns.copy()
        at, known = self._rows_of_nodes()
        used[at, self._nodes.column[known]] = True
        dropped = np.isin(self._alive, list(self._dropped))
        return used_columns(np.flatnonzero(~dropped), used)

    def _renumber(self, kept: Kept) -> None:
        at, known = self._rows_of_nodes()
        self._nodes.column[known] = kept.place[at, self._nodes.column[known]]

    def _rows_of_nodes(self) -> tuple[Array, Array]:
        """Return the cache rows of the nodes that have one, and which these are."""
        known = np.flatnonzero(np.isin(self._nodes.row, self._alive))
        return np.searchsorted(self._alive, self._nodes.row[known]), known

    def _compact(self, needed: Array) -> None:
        kept = np.array([row not in self._dropped for row in self._alive], dtype=bool)
        if kept.sum() > 0.75 * len(kept) or not len(needed):
            return
        index = np.flatnonzero(kept)
        self._alive = self._alive[index]
        self._columns = self._columns[index]
        chosen = torch.from_numpy(index).to(self._model.device)
        self._cache.batch_select_indices(chosen)


def _join(
    cache: DynamicCache, mine: Kept, other: DynamicCache, theirs: Kept, width: int
) -> None:
    """Keep some rows and columns of a cache, and take over some of another."""
    layers: list[Any] = cache.layers
    more: list[Any] = other.layers
    for one, two in zip(layers, more, strict=True):
        for name in ("keys", "values"):
            parts = [
                picked(getattr(layer, name).transpose(1, 2), kept, width)
                for layer, kept in ((one, mine), (two, theirs))
            ]
            setattr(one, name, torch.cat(parts).transpose(1, 2))
