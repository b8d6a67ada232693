"""A KV cache of single tokens: each pass gathers the slots that its rows read.

A row of `per_node_session` is a prompt and a path of its tree. Rows of one prompt share
almost all their tokens, which are stored once here and gathered layer by layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import DynamicCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]

PAD_SLOT = 0  # the slot that padding reads: it holds zeros
_GROWTH_FACTOR = 1.5  # spare room of buffers, so that few passes copy them


class SlotCache(DynamicCache):
    """Keys and values with one slot a token; a shared prefix is stored once.

    A layer gathers (rows, T) slots when it attends, and the copy ends with the layer.
    """

    def __init__(self, shared: Layers, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self.size = 1 + (shared[0][0].shape[2] if shared else 0)
        # Keys and values of each layer, (slots, H, d).
        self._buffers = [tuple(map(_with_pad_slot, pair)) for pair in shared]
        self._length = 0  # columns before the next pass
        self._index: torch.Tensor | None = None  # (rows, T)

    def allocate(self, count: int) -> Array:
        """Reserve `count` new slots and return them."""
        self.size += count
        return np.arange(self.size - count, self.size)

    def select(self, slots: Array, fresh: Array) -> None:
        """Let the next pass attend to `slots` (rows, T), of which the last Q are new.

        `fresh` (rows, Q) says which of those are tokens; the others are padding.
        """
        queries = fresh.shape[1]
        self._length = slots.shape[1] - queries
        new = slots[:, self._length :][fresh]
        self._index = torch.from_numpy(slots).to(self._device)
        self._fresh = torch.from_numpy(np.flatnonzero(fresh)).to(self._device)
        self._new = torch.from_numpy(new).to(self._device)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: Any,  # noqa: ARG002 - the interface has them
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new tokens of (rows, H, Q, d); return all columns, (rows, H, T, d)."""
        while layer_idx >= len(self._buffers):
            self._buffers.append(
                (_empty_buffer(key_states), _empty_buffer(value_states))
            )
        self._buffers[layer_idx] = pair = tuple(
            self._stored(buffer, states)
            for buffer, states in zip(
                self._buffers[layer_idx], (key_states, value_states), strict=True
            )
        )
        keys, values = (buffer[self._index].transpose(1, 2) for buffer in pair)
        return keys, values

    def keep(self, slots: Array) -> None:
        """Free all slots but these, which are renumbered in their order."""
        index = torch.from_numpy(slots).to(self._device)
        self.size = len(slots)
        self._buffers = [(k[index], v[index]) for k, v in self._buffers]

    @torch.inference_mode()
    def append(self, other: SlotCache, slots: Array) -> Array:
        """Copy `slots` of another cache and return their numbers here."""
        new = self.allocate(len(slots))
        source = torch.from_numpy(slots).to(self._device)
        target = torch.from_numpy(new).to(self._device)
        for layer, pair in enumerate(other._buffers):
            extended = []
            for buffer, other_buffer in zip(self._buffers[layer], pair, strict=True):
                larger = self._with_capacity(buffer)
                larger[target] = other_buffer[source]
                extended.append(larger)
            self._buffers[layer] = (extended[0], extended[1])
        return new

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002 - all alike
        """Return how many columns come before the pass's own."""
        return self._length

    def get_mask_sizes(
        self,
        query_length: int,
        layer_idx: int,  # noqa: ARG002 - all alike
    ) -> tuple[int, int]:
        """Return the columns that a layer attends to, and where they start."""
        return self._length + query_length, 0

    def _stored(self, buffer: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        buffer = self._with_capacity(buffer)
        rows = states.transpose(1, 2).flatten(0, 1)  # (rows x Q, H, d)
        buffer[self._new] = rows[self._fresh]
        return buffer

    def _with_capacity(self, buffer: torch.Tensor) -> torch.Tensor:
        """Return a buffer with room for all reserved slots."""
        if len(buffer) >= self.size:
            return buffer
        extra = int(_GROWTH_FACTOR * self.size) - len(buffer)
        return torch.cat([buffer, buffer.new_zeros(extra, *buffer.shape[1:])])


def _with_pad_slot(states: torch.Tensor) -> torch.Tensor:
    """Return (1 + count, H, d) of a prefix's (1, H, count, d): the pad slot first."""
    tokens = states[0].transpose(0, 1)
    return torch.cat([torch.zeros_like(tokens[:1]), tokens])


def _empty_buffer(states: torch.Tensor) -> torch.Tensor:
    _, heads, _, size = states.shape
    return states.new_zeros(1, heads, size)
