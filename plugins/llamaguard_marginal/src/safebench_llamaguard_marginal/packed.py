"""Passes without padding: queries in one row, a shared prefix that is read once.

The layers see one row of N real tokens. Attention alone unpacks them: to the prefix
all queries attend together; to the columns of its own prompt, each prompt's queries
attend as a row of a batch. The two results are joined by their normalisers, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AttentionInterface, DynamicCache

from .columns import picked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .columns import Kept

    Array = np.ndarray[Any, np.dtype[Any]]
    Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]

NAME = "safebench_packed"
_PLAIN = frozenset({"llama", "mistral", "qwen2", "qwen3"})  # no bias, cap or sink
_SPARE = 16  # columns by which buffers grow beyond what is needed


def packable(network: Any) -> bool:
    """Tell whether packed passes give what the network's own attention gives."""
    config = network.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        config.model_type in _PLAIN
        and network.device.type == "cpu"
        and getattr(config, "_attn_implementation", "") == "sdpa"
        and kinds == {"full_attention"}
        and not (config.model_type == "mistral" and config.sliding_window)
    )


class PackedCache(DynamicCache):
    """Keys and values of B prompts' own columns, beside those of their prefix.

    `real` (B, Q) says which queries of the next pass are tokens; the columns of the
    others stay zero and unseen.
    """

    def __init__(self, shared: Layers, rows: int) -> None:
        super().__init__()
        self.shared = shared
        self.rows = rows
        self.real = np.zeros((rows, 0), dtype=bool)
        self._width = 0  # own columns so far
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []  # (B, room, H, d)

    def open(self, visible: Array, dtype: torch.dtype) -> None:
        """Make room for Q more columns; `visible` (B, Q, T) ends with own columns."""
        row, slot = np.nonzero(self.real)
        self.queries = self.real.shape[1]
        column = self._width + slot
        self._width += self.queries
        self.row, self.slot, self.column = map(torch.from_numpy, (row, slot, column))
        own = visible[:, :, visible.shape[2] - self._width :]
        seen = torch.from_numpy(np.array(own))
        bias = torch.zeros(seen.shape, dtype=dtype)
        self._bias = bias.masked_fill_(~seen, -torch.inf)[:, None]  # (B, 1, Q, T)
        self._grouped: torch.Tensor | None = None

    def grouped_bias(self, groups: int) -> torch.Tensor:
        """Return the mask (B, 1, Q x groups, T) for heads that share keys."""
        if self._grouped is None:
            self._grouped = self._bias.repeat_interleave(groups, dim=2)
        return self._grouped

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: Any,  # noqa: ARG002 - the interface has them
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store (1, H, N, d) and return all own columns, (B, H, T, d)."""
        if layer_idx == len(self._buffers):
            self._buffers.append((self._room(key_states), self._room(value_states)))
        if self._buffers[layer_idx][0].shape[1] < self._width:
            old = self._buffers[layer_idx]
            self._buffers[layer_idx] = (self._grown(old[0]), self._grown(old[1]))
        keys, values = self._buffers[layer_idx]
        at = self.row * keys.shape[1] + self.column
        keys.view(-1, *keys.shape[2:])[at] = key_states[0].transpose(0, 1)
        values.view(-1, *values.shape[2:])[at] = value_states[0].transpose(0, 1)
        view = slice(None), slice(0, self._width)
        return keys[view].transpose(1, 2), values[view].transpose(1, 2)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows alone."""
        self.rows = len(indices)
        self._buffers = [(k[indices], v[indices]) for k, v in self._buffers]

    def join(self, keep: Kept, other: PackedCache, more: Kept, width: int) -> None:
        """Keep some rows and columns, and take over some of another cache.

        Both then have `width` columns. Prefixes that differ become the rows' own.
        """
        skip = self._prefix
        if skip != other._prefix or not _same(self.shared, other.shared):
            self._unshare()
            other._unshare()
            skip = 0
        self.rows = len(keep.rows) + len(more.rows)
        self._width = width - skip
        self._buffers = [
            (
                _joined(k, keep, a, more, width, skip),
                _joined(v, keep, b, more, width, skip),
            )
            for (k, v), (a, b) in zip(self._buffers, other._buffers, strict=True)
        ]

    @property
    def _prefix(self) -> int:
        return int(self.shared[0][0].shape[2]) if self.shared else 0

    def _unshare(self) -> None:
        """Let every row have the prefix as columns of its own."""
        if not self.shared:
            return
        spread = []
        for pair, own in zip(self.shared, self._buffers, strict=True):
            shape = (self.rows, -1, -1, -1)
            wide = [states.transpose(1, 2).expand(shape) for states in pair]
            joined = [torch.cat([a, b], dim=1) for a, b in zip(wide, own, strict=True)]
            spread.append((joined[0], joined[1]))
        self._width += self._prefix
        self._buffers, self.shared = spread, []

    def _room(self, states: torch.Tensor) -> torch.Tensor:
        _, heads, _, size = states.shape
        return states.new_zeros(self.rows, self._width + _SPARE, heads, size)

    def _grown(self, old: torch.Tensor) -> torch.Tensor:
        extra = self._width + _SPARE - old.shape[1]
        return torch.cat([old, old.new_zeros(len(old), extra, *old.shape[2:])], dim=1)


def _same(one: Layers, other: Layers) -> bool:
    """Tell whether two prefixes are views of the same memory."""
    if not one or not other:
        return not one and not other
    return one[0][0].data_ptr() == other[0][0].data_ptr()


def _joined(
    one: torch.Tensor,
    keep: Kept,
    other: torch.Tensor,
    more: Kept,
    width: int,
    skip: int,
) -> torch.Tensor:
    return torch.cat([picked(one, keep, width, skip), picked(other, more, width, skip)])


def run_packed(
    network: Any, tokens: Array, positions: Array, visible: Array, cache: PackedCache
) -> Any:
    """Run one pass and return the network's output; see `HfModel.forward`."""
    cache.open(visible, network.dtype)
    config, usual = network.config, network.config._attn_implementation  # noqa: SLF001
    config._attn_implementation = NAME  # noqa: SLF001 - each layer asks it
    try:
        return network(
            input_ids=torch.from_numpy(tokens[cache.real])[None],
            position_ids=torch.from_numpy(positions[cache.real])[None],
            attention_mask=torch.ones(1, 1, 1, 1),  # none is made for it
            past_key_values=cache,
            use_cache=True,
            packed=cache,
        )
    finally:
        config._attn_implementation = usual  # noqa: SLF001


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - the cache has it
    *,
    scaling: float,
    packed: PackedCache,
    **kwargs: Any,  # noqa: ARG001 - dropout and the like
) -> tuple[torch.Tensor, None]:
    """Attend from packed queries (1, H, N, d); returns (1, N, H, d)."""
    _, heads, count, size = query.shape
    kept = key.shape[1]
    groups = heads // kept
    asked = query[0].transpose(0, 1)  # (N, H, d)
    spread = query.new_zeros(packed.rows, packed.queries, heads, size)
    spread[packed.row, packed.slot] = asked
    grouped = spread.view(packed.rows, packed.queries, kept, groups, size)
    by_row = grouped.transpose(1, 2).reshape(packed.rows, kept, -1, size)
    out, norm = _flash(by_row, key, value, packed.grouped_bias(groups), scaling)
    shape = (packed.rows, kept, packed.queries, groups)
    where = packed.row, slice(None), packed.slot
    own, own_norm = out.view(*shape, size)[where], norm.reshape(shape)[where]
    layer: Any = module
    if packed.shared:
        keys, values = packed.shared[layer.layer_idx]
        together = asked.reshape(count, kept, groups, size).transpose(0, 1)
        together = together.reshape(1, kept, count * groups, size)
        out, norm = _flash(together, keys, values, None, scaling)
        out = out.view(kept, count, groups, size).transpose(0, 1)
        norm = norm.reshape(kept, count, groups).transpose(0, 1)
        weight = torch.sigmoid(norm - own_norm)[..., None].to(out.dtype)
        own = torch.lerp(own, out, weight)
    return own.reshape(1, count, heads, size), None


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention (B, H, Q, d) and log of its normalisers (B, H, Q)."""
    found: tuple[torch.Tensor, torch.Tensor] = (
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001
            query, key, value, attn_mask=bias, scale=scale
        )
    )
    return found


AttentionInterface.register(NAME, attend)
