"""Trees with one row a node: for kernels that take no mask, and layers with windows.

Every row is a sequence of its own, the prompt and the path to a node without a gap,
padded on the left. So positions, windows and causality are those that the network makes
of any sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.torch_utils import pad

from .kv_columns import NodeTable
from .slot_cache import PAD_SLOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .forward_pass import CachedNetwork
    from .slot_cache import SlotCache

# The share of slots in use above which a copy would cost more than it frees.
_COMPACT_BELOW = 0.75


class PerNodeSession:
    """B prefilled prompts; a pass gathers the keys and values of each node's path."""

    def __init__(
        self, model: CachedNetwork, prompts: Sequence[tuple[int, ...]]
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._lengths = np.array([len(prompt) for prompt in prompts])
        self._dropped: set[int] = set()
        self._stale = False  # prompts were dropped since slots were last counted
        self._nodes = NodeTable()
        self._prefix_length, layers = model.shared_prefix(prompts)
        self._cache: SlotCache = model.new_cache(layers, len(prompts))  # type: ignore[assignment]
        self._slots = np.empty((0, 0), dtype=np.int64)  # (B, longest), prompt by prompt
        # The prompt that each slot belongs to; -1: all, as the prefix does.
        self._owner = np.full(1 + self._prefix_length, -1)
        self._root_logits = self._prefill()

    def root_logits(self) -> Array:
        """Return the logits after each prompt, (B, V)."""
        return self._root_logits

    def _prefill(self) -> Array:
        """Read the prompts; padding on the right leaves no gap after the prefix."""
        start = self._prefix_length
        tokens, real = pad([prompt[start:] for prompt in self._prompts], "right")
        rows, width = tokens.shape
        prefix_slots = np.broadcast_to(1 + np.arange(start), (rows, start))
        own_slots = np.full(tokens.shape, PAD_SLOT)
        own_slots[real] = self._allocate(np.nonzero(real)[0])
        self._slots = np.concatenate([prefix_slots, own_slots], axis=1)
        self._cache.select(self._slots, real)
        last = np.arange(width) == (self._lengths - start - 1)[:, None]
        return self._model.forward(
            tokens,
            np.broadcast_to(start + np.arange(width), tokens.shape),
            np.concatenate([np.ones((rows, start), dtype=bool), real], axis=1),
            self._cache,
            last,
        )

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Array:
        """Run new nodes and return their logits, (Q, V).

        In one forward pass, or in as many as `tokens_per_pass` allows.
        """
        rows = np.asarray(rows, dtype=np.int64)
        assert (rows[1:] >= rows[:-1]).all(), f"rows not ascending: {rows}"
        assert self._dropped.isdisjoint(rows.tolist()), f"dropped rows in {rows}"
        self._compact()
        parents = np.asarray(parents, dtype=np.int64)
        nodes = self._nodes.add(rows, parents, self._allocate(rows))
        length = self._lengths[rows] + self._nodes.depth[nodes]
        n_rows = max(1, self._model.tokens_per_pass // int(length.max()))
        logits = [
            self._run(nodes[start : start + n_rows], tokens[start : start + n_rows])
            for start in range(0, len(nodes), n_rows)
        ]
        return logits[0] if len(logits) == 1 else _concatenate(logits)

    def _run(self, nodes: Array, tokens: Array) -> Array:
        """Run nodes (Q,) in one pass, each as the last token of a row of its own."""
        rows, depth = self._nodes.row[nodes], self._nodes.depth[nodes]
        length = self._lengths[rows] + depth
        width = int(length.max())
        position = np.arange(width) - (width - length)[:, None]  # (Q, T), < 0: padding
        # Slots of the prompt first; those beyond its end are overwritten by the path.
        within = np.clip(position, 0, self._slots.shape[1] - 1)
        slots = np.take_along_axis(self._slots[rows], within, axis=1)
        slots[position < 0] = PAD_SLOT
        slots[:, -1] = self._nodes.column[nodes]
        for offset, (which, columns) in enumerate(self._nodes.ancestors(nodes), 2):
            slots[which, -offset] = columns
        all_new = np.ones((len(nodes), 1), dtype=bool)
        self._cache.select(slots, all_new)
        return self._model.forward(
            np.asarray(tokens)[:, None],
            (length - 1)[:, None],
            position >= 0,
            self._cache,
            all_new,
        )

    def drop(self, rows: Array) -> None:
        """Free prompts; the cache shrinks once a quarter of its slots is unused."""
        self._dropped.update(np.asarray(rows).tolist())
        self._stale = True

    def join(self, other: PerNodeSession) -> None:
        """Take over the prompts of `other`, and its slots but a prefix in common."""
        n_shared = 1 + self._prefix_in_common(other)  # slots, that of padding included
        slots = np.arange(other._cache.size)
        new_slot = slots.copy()
        new_slot[n_shared:] = self._cache.append(other._cache, slots[n_shared:])
        first = len(self._prompts)
        owner = np.where(other._owner < 0, -1, other._owner + first)
        self._owner = np.concatenate([self._owner, owner[n_shared:]])
        self._slots = _stack_padded(self._slots, new_slot[other._slots])
        other._nodes.column = new_slot[other._nodes.column]
        self._nodes.join(other._nodes, first)
        self._prompts = [*self._prompts, *other._prompts]
        self._lengths = np.concatenate([self._lengths, other._lengths])

    def _prefix_in_common(self, other: PerNodeSession) -> int:
        """Return how many slots of the prefixes are the same, 0 if they differ."""
        length = min(self._prefix_length, other._prefix_length)
        same = self._prompts[0][:length] == other._prompts[0][:length]
        return length if same else 0

    def _allocate(self, owners: Array) -> Array:
        """Return a new slot for each token; `owners` (n,) are their prompts."""
        self._owner = np.concatenate([self._owner, owners])
        return self._cache.allocate(len(owners))

    def _compact(self) -> None:
        if not self._stale:
            return
        self._stale = False
        kept = ~np.isin(self._owner, list(self._dropped))
        if kept.mean() > _COMPACT_BELOW:
            return
        new_slot = np.where(kept, np.cumsum(kept) - 1, PAD_SLOT)
        self._cache.keep(np.flatnonzero(kept))
        self._owner = self._owner[kept]
        self._slots = new_slot[self._slots]
        self._nodes.column = new_slot[self._nodes.column]


def _stack_padded(*tables: Array) -> Array:
    """Put tables of slots (rows, T) into one, padded on the right."""
    width = max(table.shape[1] for table in tables)
    # `np.pad` fills with 0, which is the slot of padding.
    return np.concatenate(
        [np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables]
    )


def _concatenate(parts: Sequence[Any]) -> Any:
    """Return arrays, or tensors on a device, as one."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(list(parts))
