"""Forward passes without padding, which read a shared prefix once.

The layers see one row of N real tokens. Attention alone unpacks them: all queries
attend together to the shared prefix; to the columns of its own prompt, each prompt's
queries attend as a row of a batch. The two partial results are merged by their softmax
normalisers, which is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AttentionInterface, DynamicCache

from .kv_columns import gather_columns
from .row_groups import groups_of_rows, whole_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

    from .kv_columns import KeptColumns
    from .row_groups import RowGroup

    Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]

ATTENTION_NAME = "safebench_packed"  # registered with transformers below
# Architectures whose attention is softmax(QK) V alone: no bias, cap or sink.
_SUPPORTED_MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_SPARE_COLUMNS = 16  # spare room of buffers, so that few passes copy them


def supports_unpadded(network: Any) -> bool:
    """Tell whether unpadded passes give what the network's own attention gives.

    Only on a CPU: the kernel that also returns normalisers is a CPU kernel.
    """
    config = network.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        config.model_type in _SUPPORTED_MODEL_TYPES
        and network.device.type == "cpu"
        and getattr(config, "_attn_implementation", "") == "sdpa"
        and kinds == {"full_attention"}
        and not (config.model_type == "mistral" and config.sliding_window)
    )


class UnpaddedCache(DynamicCache):
    """Keys and values of B prompts' own columns, and those of the prefix they share.

    `real` (B, Q) says which queries of the next pass are tokens; the columns of the
    others stay zero and unseen. `groups` are the rows that attend together in a pass:
    all of them, or with `in_groups` a few at a time.
    """

    def __init__(self, shared: Layers, rows: int, *, in_groups: bool = False) -> None:
        super().__init__()
        self.shared = shared
        self.rows = rows
        self.in_groups = in_groups
        self.groups: list[RowGroup] = []
        self.real = np.zeros((rows, 0), dtype=bool)
        self._width = 0  # own columns so far
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []  # (B, room, H, d)

    def start_pass(self, visible: Array, dtype: torch.dtype) -> None:
        """Make room for Q more columns; `visible` (B, Q, T) ends with own columns."""
        row, slot = np.nonzero(self.real)
        column = self._width + slot
        self._width += self.real.shape[1]
        self._row, self._column = map(torch.from_numpy, (row, column))
        own_visible = visible[:, :, visible.shape[2] - self._width :]
        split = groups_of_rows if self.in_groups else whole_batch
        self.groups = split(self.real, own_visible, dtype)

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
            self._buffers.append(
                (self._new_buffer(key_states), self._new_buffer(value_states))
            )
        if self._buffers[layer_idx][0].shape[1] < self._width:
            keys, values = self._buffers[layer_idx]
            self._buffers[layer_idx] = self._enlarged(keys), self._enlarged(values)
        keys, values = self._buffers[layer_idx]
        flat = self._row * keys.shape[1] + self._column
        keys.view(-1, *keys.shape[2:])[flat] = key_states[0].transpose(0, 1)
        values.view(-1, *values.shape[2:])[flat] = value_states[0].transpose(0, 1)
        written = slice(None), slice(0, self._width)
        return keys[written].transpose(1, 2), values[written].transpose(1, 2)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows alone."""
        self.rows = len(indices)
        self._buffers = [(k[indices], v[indices]) for k, v in self._buffers]

    def join(
        self,
        kept: KeptColumns,
        other: UnpaddedCache,
        other_kept: KeptColumns,
        width: int,
    ) -> None:
        """Keep some rows and columns, and append some of another cache.

        All rows then have `width` columns. Prefixes that differ become the rows' own.
        """
        prefix = self._prefix_length
        same_length = prefix == other._prefix_length
        if not (same_length and _same_memory(self.shared, other.shared)):
            self._copy_prefix_to_rows()
            other._copy_prefix_to_rows()
            prefix = 0

        def joined(states: torch.Tensor, other_states: torch.Tensor) -> torch.Tensor:
            rows = gather_columns(states, kept, width, prefix)
            return torch.cat(
                [rows, gather_columns(other_states, other_kept, width, prefix)]
            )

        self.rows = len(kept.rows) + len(other_kept.rows)
        self._width = width - prefix
        self._buffers = [
            (joined(keys, other_keys), joined(values, other_values))
            for (keys, values), (other_keys, other_values) in zip(
                self._buffers, other._buffers, strict=True
            )
        ]

    @property
    def _prefix_length(self) -> int:
        return int(self.shared[0][0].shape[2]) if self.shared else 0

    def _copy_prefix_to_rows(self) -> None:
        """Give every row the prefix as columns of its own."""
        if not self.shared:
            return
        shape = (self.rows, -1, -1, -1)

        def whole(prefix: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
            return torch.cat([prefix.transpose(1, 2).expand(shape), columns], dim=1)

        self._width += self._prefix_length
        self._buffers = [
            (whole(prefix_keys, keys), whole(prefix_values, values))
            for (prefix_keys, prefix_values), (keys, values) in zip(
                self.shared, self._buffers, strict=True
            )
        ]
        self.shared = []

    def _new_buffer(self, states: torch.Tensor) -> torch.Tensor:
        _, heads, _, size = states.shape
        return states.new_zeros(self.rows, self._width + _SPARE_COLUMNS, heads, size)

    def _enlarged(self, buffer: torch.Tensor) -> torch.Tensor:
        extra = self._width + _SPARE_COLUMNS - buffer.shape[1]
        room = buffer.new_zeros(len(buffer), extra, *buffer.shape[2:])
        return torch.cat([buffer, room], dim=1)


def _same_memory(prefix: Layers, other: Layers) -> bool:
    """Tell whether two prefixes are views of the same memory."""
    if not prefix or not other:
        return not prefix and not other
    return prefix[0][0].data_ptr() == other[0][0].data_ptr()


def forward_unpadded(
    network: Any, tokens: Array, positions: Array, visible: Array, cache: UnpaddedCache
) -> Any:
    """Run one pass and return the network's output; see `CachedNetwork.forward`."""
    cache.start_pass(visible, network.dtype)
    config = network.config
    # Each layer looks its kernel up by this name at every pass: transformers has no
    # public way to change it for a while.
    usual = config._attn_implementation  # noqa: SLF001 - see above
    config._attn_implementation = ATTENTION_NAME  # noqa: SLF001 - see above
    try:
        return network(
            input_ids=torch.from_numpy(tokens[cache.real])[None],
            position_ids=torch.from_numpy(positions[cache.real])[None],
            attention_mask=torch.ones(1, 1, 1, 1),  # so that the network makes none
            past_key_values=cache,
            use_cache=True,
            packed=cache,
        )
    finally:
        config._attn_implementation = usual  # noqa: SLF001 - see above


def unpadded_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - the cache has it
    *,
    scaling: float,
    packed: UnpaddedCache,
    **kwargs: Any,  # noqa: ARG001 - dropout and the like
) -> tuple[torch.Tensor, None]:
    """Attend from unpadded queries (1, H, N, d); returns (1, N, H, d).

    Keys and values have fewer heads than queries in grouped-query attention: the G
    query heads of a group are laid out as further queries of one key head.
    """
    _, heads, count, size = query.shape
    key_heads = key.shape[1]
    groups = heads // key_heads
    tokens = query[0].transpose(0, 1)  # (N, H, d)
    parts = [
        _attend_to_own_columns(tokens[group.tokens], key, value, group, scaling)
        for group in packed.groups
    ]
    own, own_log_norm = (
        parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
    )
    layer: Any = module
    if packed.shared:
        keys, values = packed.shared[layer.layer_idx]
        in_one_row = tokens.reshape(count, key_heads, groups, size).transpose(0, 1)
        in_one_row = in_one_row.reshape(1, key_heads, count * groups, size)
        attended, log_norm = _attention_and_normaliser(
            in_one_row, keys, values, None, scaling
        )
        attended = attended.view(key_heads, count, groups, size).transpose(0, 1)
        log_norm = log_norm.reshape(key_heads, count, groups).transpose(0, 1)
        # Of two softmaxes with normalisers a and b, the joint one is their mean with
        # weights a / (a + b) and b / (a + b).
        weight = torch.sigmoid(log_norm - own_log_norm)[..., None].to(attended.dtype)
        own = torch.lerp(own, attended, weight)
    return own.reshape(1, count, heads, size), None


def _attend_to_own_columns(
    tokens: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    group: RowGroup,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend from the n queries (n, H, d) of a group to the columns of their prompts.

    Returns (n, key heads, G, d), and the log of the normalisers.
    """
    (_, heads, size), key_heads = tokens.shape, key.shape[1]
    groups = heads // key_heads
    # Queries back in rows, (R, Q, H, d).
    padded = tokens.new_zeros(group.count, group.width, heads, size)
    padded[group.row, group.slot] = tokens
    grouped = padded.view(group.count, group.width, key_heads, groups, size)
    by_row = grouped.transpose(1, 2).reshape(group.count, key_heads, -1, size)
    attended, log_norm = _attention_and_normaliser(
        by_row,
        key[group.rows, :, group.columns],
        value[group.rows, :, group.columns],
        group.bias_of(groups),
        scaling,
    )
    shape = (group.count, key_heads, group.width, groups)
    real = group.row, slice(None), group.slot
    return attended.view(*shape, size)[real], log_norm.reshape(shape)[real]


def _attention_and_normaliser(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return attention (B, H, Q, d) and log of its normalisers (B, H, Q)."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - the public one returns no normalisers
    result: tuple[torch.Tensor, torch.Tensor] = kernel(
        query, key, value, attn_mask=bias, scale=scale
    )
    return result


AttentionInterface.register(ATTENTION_NAME, unpadded_attention)
