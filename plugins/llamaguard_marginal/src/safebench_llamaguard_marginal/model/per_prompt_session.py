"""Trees with one row a prompt: nodes share the row, and a mask keeps branches apart.

The columns of a row's KV cache are the prompt, padded on the left, then the nodes of
its tree, level by level. Every query attends to the prompt, its ancestors and itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from safebench.torch_utils import pad

from .kv_columns import NodeTable, gather_columns, keep_used_columns, move_mask
from .unpadded_attention import UnpaddedCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import DynamicCache

    from safebench.typing import Array

    from .forward_pass import CachedNetwork
    from .kv_columns import KeptColumns

_NO_DRAFT = np.empty(0, dtype=np.int64)
# The share of rows in use above which a copy would cost more than it frees.
_COMPACT_BELOW = 0.75


class PerPromptSession:
    """B prefilled prompts, perhaps with a draft; a forward pass a tree level.

    A draft is a static tree (`parents`, `tokens`) that is read behind every prompt in
    the pass that prefills it.
    """

    def __init__(
        self,
        model: CachedNetwork,
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
        # (rows, T): the columns that every query of the row sees, those of its prompt.
        self._columns: Array = np.empty(0)
        self._root_logits, self._draft_logits = self._prefill(parents, tokens)

    def root_logits(self) -> Array:
        """Return the logits after each prompt, (B, V)."""
        return self._root_logits

    def draft_logits(self) -> Array:
        """Return the logits at the draft's nodes after each prompt, (B, n, V)."""
        return self._draft_logits

    def _prefill(self, parents: Array, draft: Array) -> tuple[Array, Array]:
        """Read prompts and draft; return logits at the roots and at the draft."""
        prefix, layers = self._model.shared_prefix(self._prompts)
        rows, n_draft = len(self._prompts), len(parents)
        self._cache = self._model.new_cache(layers, rows)
        tokens, real = pad([prompt[prefix:] for prompt in self._prompts])
        width = tokens.shape[1]
        in_prefix = np.ones((rows, prefix), dtype=bool)
        self._columns = np.concatenate([in_prefix, real], axis=1)
        position = np.where(real, prefix + np.cumsum(real, axis=1) - 1, 0)
        visible = draft_mask(self._columns, width, ancestor_mask(parents))
        draft_columns = prefix + width + np.arange(n_draft)
        depth = self._nodes.add_draft(rows, parents, draft_columns)
        draft_position = self._lengths[:, None] + depth - 1
        self._add_tree_columns(n_draft)
        real = np.concatenate([real, np.ones((rows, n_draft), dtype=bool)], axis=1)
        self._set_real_queries(real)
        # Logits are needed at the last token of each prompt and at all of the draft.
        selected = np.arange(width + n_draft) >= width - 1
        logits = self._model.forward(
            np.concatenate([tokens, np.broadcast_to(draft, (rows, n_draft))], axis=1),
            np.concatenate([position, draft_position], axis=1),
            visible,
            self._cache,
            np.broadcast_to(selected, real.shape),
        )
        by_prompt = logits.reshape(rows, 1 + n_draft, -1)
        return by_prompt[:, 0], by_prompt[:, 1:]

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Array:
        """Run new nodes in one forward pass and return their logits, (Q, V)."""
        rows = np.asarray(rows, dtype=np.int64)
        assert (rows[1:] >= rows[:-1]).all(), f"rows not ascending: {rows}"
        self._compact(rows)
        cache_row = np.searchsorted(self._alive, rows)
        assert (self._alive[cache_row] == rows).all(), f"dropped rows in {rows}"
        slot = np.arange(len(rows)) - np.searchsorted(rows, rows)  # within its row
        width = int(slot.max()) + 1
        shape = (len(self._alive), width)
        start = self._columns.shape[1]
        parents = np.asarray(parents, dtype=np.int64)
        nodes = self._nodes.add(rows, parents, start + slot)
        ids, positions = np.zeros((2, *shape), dtype=np.int64)
        ids[cache_row, slot] = tokens
        positions[cache_row, slot] = self._lengths[rows] + self._nodes.depth[nodes] - 1
        real = np.zeros(shape, dtype=bool)
        real[cache_row, slot] = True
        visible = self._level_mask(cache_row, slot, nodes, width)
        self._set_real_queries(real)
        logits = self._model.forward(ids, positions, visible, self._cache, real)
        self._add_tree_columns(width)
        return logits

    def _add_tree_columns(self, width: int) -> None:
        """Extend the columns by nodes, which no query sees but their descendants."""
        hidden = np.zeros((len(self._columns), width), dtype=bool)
        self._columns = np.concatenate([self._columns, hidden], axis=1)

    def _level_mask(
        self, cache_row: Array, slot: Array, nodes: Array, width: int
    ) -> Array:
        """Return (rows, width, T): prompt, ancestors and self; padding sees itself."""
        start = self._columns.shape[1]
        visible = np.zeros((len(self._alive), width, start + width), dtype=bool)
        visible[:, :, :start] = self._columns[:, None]
        visible[:, np.arange(width), start + np.arange(width)] = True
        for which, columns in self._nodes.ancestors(nodes):
            visible[cache_row[which], slot[which], columns] = True
        return visible

    def _set_real_queries(self, real: Array) -> None:
        """Tell a cache that leaves padding out which queries (B, Q) are real."""
        if isinstance(self._cache, UnpaddedCache):
            self._cache.real = real

    def drop(self, rows: Array) -> None:
        """Free prompts; the cache shrinks once a quarter of its rows is unused."""
        self._dropped.update(np.asarray(rows).tolist())

    def join(self, other: PerPromptSession) -> None:
        """Take over the prompts of `other`; unused columns of both are given up."""
        kept, other_kept = self._kept_columns(), other._kept_columns()
        width = max(kept.columns.shape[1], other_kept.columns.shape[1])
        if isinstance(self._cache, UnpaddedCache):
            assert isinstance(other._cache, UnpaddedCache)
            self._cache.join(kept, other._cache, other_kept, width)
        else:
            _join_caches(self._cache, kept, other._cache, other_kept, width)
        self._columns = np.concatenate(
            [
                move_mask(self._columns, kept, width),
                move_mask(other._columns, other_kept, width),
            ]
        )
        self._renumber_columns(kept)
        other._renumber_columns(other_kept)
        first = len(self._prompts)
        self._alive = np.concatenate(
            [self._alive[kept.rows], first + other._alive[other_kept.rows]]
        )
        self._nodes.join(other._nodes, first)
        self._prompts = [*self._prompts, *other._prompts]
        self._lengths = np.concatenate([self._lengths, other._lengths])

    def _kept_columns(self) -> KeptColumns:
        """Keep the rows of live prompts, and the columns of prompts and nodes."""
        used = self._columns.copy()
        cache_row, nodes = self._nodes_in_cache()
        used[cache_row, self._nodes.column[nodes]] = True
        dropped = np.isin(self._alive, list(self._dropped))
        return keep_used_columns(np.flatnonzero(~dropped), used)

    def _renumber_columns(self, kept: KeptColumns) -> None:
        cache_row, nodes = self._nodes_in_cache()
        column = self._nodes.column
        column[nodes] = kept.new_column[cache_row, column[nodes]]

    def _nodes_in_cache(self) -> tuple[Array, Array]:
        """Return the nodes whose prompt is in the cache: their rows there, and they."""
        nodes = np.flatnonzero(np.isin(self._nodes.row, self._alive))
        return np.searchsorted(self._alive, self._nodes.row[nodes]), nodes

    def _compact(self, needed: Array) -> None:
        kept = np.array([row not in self._dropped for row in self._alive], dtype=bool)
        if kept.sum() > _COMPACT_BELOW * len(kept) or not len(needed):
            return
        index = np.flatnonzero(kept)
        self._alive = self._alive[index]
        self._columns = self._columns[index]
        device_index = torch.from_numpy(index).to(self._model.device)
        self._cache.batch_select_indices(device_index)


def prefill_mask(columns: Array, width: int) -> Array:
    """Return (B, Q, T): causal over real columns; padded queries see themselves.

    Without the last rule a padded row would attend to nothing, and its NaN would
    spread through the batch.
    """
    total = columns.shape[1]
    query = np.arange(total - width, total)[:, None]
    causal = np.arange(total) <= query  # (Q, T)
    itself = np.arange(total) == query
    mask: Array = (columns[:, None] & causal) | itself
    return mask


def draft_mask(columns: Array, width: int, ancestors: Array) -> Array:
    """Return (B, Q + n, T + n): as `prefill_mask`, then a static tree of n nodes.

    A node sees its prompt's real columns and its `ancestors` (n, n); no prompt sees a
    node.
    """
    if not len(ancestors):
        return prefill_mask(columns, width)
    (rows, total), n_nodes = columns.shape, len(ancestors)
    visible = np.zeros((rows, width + n_nodes, total + n_nodes), dtype=bool)
    visible[:, :width, :total] = prefill_mask(columns, width)
    visible[:, width:, :total] = columns[:, None]
    visible[:, width:, total:] = ancestors
    return visible


def ancestor_mask(parents: Array) -> Array:
    """Return (n, n): which nodes are ancestors of a node, or itself.

    Parents come before their children; -1 is the root, which is no node.
    """
    mask = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents.tolist()):
        if parent >= 0:
            mask[node] |= mask[parent]
    return mask


def _join_caches(
    cache: DynamicCache,
    kept: KeptColumns,
    other: DynamicCache,
    other_kept: KeptColumns,
    width: int,
) -> None:
    """Keep some rows and columns of `cache`, and append some of another."""
    layers: list[Any] = cache.layers
    other_layers: list[Any] = other.layers
    for layer, other_layer in zip(layers, other_layers, strict=True):
        for name in ("keys", "values"):
            parts = [
                gather_columns(getattr(source, name).transpose(1, 2), columns, width)
                for source, columns in ((layer, kept), (other_layer, other_kept))
            ]
            setattr(layer, name, torch.cat(parts).transpose(1, 2))
