"""One row a node: for kernels that take no mask, and layers that do not see all.

Every row is a sequence of its own, prompt and path without a gap and padded on the
left, so that positions, windows and causality are what the network makes of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .nodes import NodeTable
from .padding import right_padded
from .slots import PAD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .hf_model import HfModel
    from .slots import SlotCache

    Array = np.ndarray[Any, np.dtype[Any]]


class RowSession:
    """B prompts, prefilled; a pass gathers the keys and values of each node's path."""

    def __init__(self, model: HfModel, prompts: Sequence[tuple[int, ...]]) -> None:
        self._model = model
        self._prompts = prompts
        self._lengths = np.array([len(prompt) for prompt in prompts])
        self._dropped: set[int] = set()
        self._stale = False  # prompts were dropped since slots were last counted
        self._nodes = NodeTable()
        count, shared = model.prefix(prompts)
        self._shared = count
        self._cache: SlotCache = model.cache(shared, len(prompts))  # type: ignore[assignment]
        self._slots = np.empty((0, 0), dtype=np.int64)  # (B, longest), prompt by prompt
        self._owner = np.full(1 + count, -1)  # of each slot: the prompt, -1: all
        self._roots = self._prefill(count)

    def roots(self) -> Array:
        """Return the logits after each prompt, (B, V)."""
        return self._roots

    def _prefill(self, count: int) -> Array:
        """Read the prompts, padded on the right: no gap between prefix and rest."""
        tokens, real = right_padded([prompt[count:] for prompt in self._prompts])
        rows, width = tokens.shape
        before = np.broadcast_to(1 + np.arange(count), (rows, count))
        own = np.full(tokens.shape, PAD)
        own[real] = self._take(np.nonzero(real)[0])
        self._slots = np.concatenate([before, own], axis=1)
        self._cache.read(self._slots, real)
        last = np.arange(width) == (self._lengths - count - 1)[:, None]
        return self._model.forward(
            tokens,
            np.broadcast_to(count + np.arange(width), tokens.shape),
            np.concatenate([np.ones((rows, count), dtype=bool), real], axis=1),
            self._cache,
            last,
        )

    def expand(self, rows: Array, parents: Array, tokens: Array) -> Array:
        """Run new nodes and return their logits, (Q, V).

        One forward pass, or as many as `row_tokens` asks for.
        """
        rows = np.asarray(rows, dtype=np.int64)
        assert (rows[1:] >= rows[:-1]).all(), f"rows not ascending: {rows}"
        assert self._dropped.isdisjoint(rows.tolist()), f"dropped rows in {rows}"
        self._compact()
        parents = np.asarray(parents, dtype=np.int64)
        nodes = self._nodes.add(rows, parents, self._take(rows))
        length = self._lengths[rows] + self._nodes.depth[nodes]
        most = max(1, self._model.row_tokens // int(length.max()))
        parts = [
            self._run(nodes[at : at + most], tokens[at : at + most])
            for at in range(0, len(nodes), most)
        ]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _run(self, nodes: Array, tokens: Array) -> Array:
        rows, depth = self._nodes.row[nodes], self._nodes.depth[nodes]
        length = self._lengths[rows] + depth
        total = int(length.max())
        place = np.arange(total) - (total - length)[:, None]  # within each sequence
        inside = np.clip(place, 0, self._slots.shape[1] - 1)
        slots = np.take_along_axis(self._slots[rows], inside, axis=1)
        slots[place < 0] = PAD
        slots[:, -1] = self._nodes.column[nodes]
        for above, (which, columns) in enumerate(self._nodes.ancestors(nodes), 2):
            slots[which, -above] = columns
        one = np.ones((len(nodes), 1), dtype=bool)
        self._cache.read(slots, one)
        return self._model.forward(
            np.asarray(tokens)[:, None],
            (length - 1)[:, None],
            place >= 0,
            self._cache,
            one,
        )

    def drop(self, rows: Array) -> None:
        """Free prompts; the cache shrinks once a quarter of its slots is unused."""
        self._dropped.update(np.asarray(rows).tolist())
        self._stale = True

    def join(self, other: RowSession) -> None:
        """Take over the prompts of `other`, and its slots but a prefix in common."""
        known = 1 + self._prefix_in_common(other)
        slots = np.arange(other._cache.size)
        place = slots.copy()
        place[known:] = self._cache.append(other._cache, slots[known:])
        first = len(self._prompts)
        owner = np.where(other._owner < 0, -1, other._owner + first)
        self._owner = np.concatenate([self._owner, owner[known:]])
        self._slots = _stacked(self._slots, place[other._slots])
        other._nodes.column = place[other._nodes.column]
        self._nodes.join(other._nodes, first)
        self._prompts = [*self._prompts, *other._prompts]
        self._lengths = np.concatenate([self._lengths, other._lengths])

    def _prefix_in_common(self, other: RowSession) -> int:
        """Return how many slots of a prefix are the same, 0 if prefixes differ."""
        count = min(self._shared, other._shared)
        same = self._prompts[0][:count] == other._prompts[0][:count]
        return count if same else 0

    def _take(self, owners: Array) -> Array:
        """Return a new slot for each token of the prompts `owners`."""
        self._owner = np.concatenate([self._owner, owners])
        return self._cache.take(len(owners))

    def _compact(self) -> None:
        if not self._stale:
            return
        self._stale = False
        kept = ~np.isin(self._owner, list(self._dropped))
        if kept.mean() > 0.75:  # noqa: PLR2004 - copying costs too
            return
        place = np.where(kept, np.cumsum(kept) - 1, PAD)
        self._cache.keep(np.flatnonzero(kept))
        self._owner = self._owner[kept]
        self._slots = place[self._slots]
        self._nodes.column = place[self._nodes.column]


def _stacked(one: Array, other: Array) -> Array:
    """Put two tables of slots into one, padded on the right."""
    width = max(one.shape[1], other.shape[1])
    parts = (one, other)
    wide = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
    return np.concatenate(wide)


def _joined(parts: Sequence[Any]) -> Any:
    """Return arrays, or tensors on a device, as one."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch

    return torch.cat(list(parts))
