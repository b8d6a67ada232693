"""Forward passes over a growing KV cache, with logits only where they are needed.

`CachedNetwork` runs one pass of a causal network and knows which cache goes with which
layout of a tree. Logits are computed in float32 or wider whatever the weights are: an
output layer in bfloat16 would round them to steps of 0.125 near 16, and make ties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers import DynamicCache

from .slot_cache import SlotCache
from .unpadded_attention import UnpaddedCache, forward_unpadded, supports_unpadded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safebench.typing import Array

    from .architecture import TreeLayout

    Layers = list[tuple[torch.Tensor, torch.Tensor]]

_VOCABULARY_CHUNK = 16384  # output rows widened at once: bounds the extra memory


class SelectiveLogitHead(torch.nn.Module):
    """Replaces a network's output layer; shares its weights.

    `selected` (B, Q) chooses positions before the next pass: logits are (1, n, V).
    """

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.selected: torch.Tensor | None = None

    @classmethod
    def install(cls, network: Any) -> SelectiveLogitHead:
        """Put one into `network`, or return the one that is there."""
        inner = network.get_output_embeddings()
        if isinstance(inner, cls):
            return inner
        head = cls(inner)
        network.set_output_embeddings(head)
        return head

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits (1, n, V) of the selected positions of `hidden` (B, Q, d)."""
        if self.selected is not None:
            hidden = hidden[self.selected][None]
        if type(self.inner) is not torch.nn.Linear:  # an adapter sits on the head
            logits: torch.Tensor = self.inner(hidden)
            return logits.to(torch.promote_types(logits.dtype, torch.float32))
        weight, bias = self.inner.weight, self.inner.bias
        wide = torch.promote_types(weight.dtype, torch.float32)
        if weight.dtype == wide:
            return functional.linear(hidden.to(wide), weight, bias)
        hidden = hidden.to(wide)
        chunks = [
            hidden @ weight[start : start + _VOCABULARY_CHUNK].to(wide).T
            for start in range(0, len(weight), _VOCABULARY_CHUNK)
        ]
        logits = torch.cat(chunks, dim=-1)
        return logits if bias is None else logits + bias.to(wide)


class CachedNetwork:
    """A causal network, and the keys and values of prefixes that prompts share.

    `prefixes` are token sequences that many prompts start with: each is read once, when
    this is built. Logits are numpy arrays, or with `on_device` tensors that stay where
    they are. `tree_layout` says how a tree goes through the network: "tree" is one row
    a prompt and a mask, "rows" one row a node, at most `tokens_per_pass` tokens (rows x
    length) a pass. With `in_groups` rows of an unpadded batch attend a few at a time,
    with less padding: quicker, and equal but for rounding.
    """

    def __init__(
        self,
        network: Any,
        prefixes: Iterable[Sequence[int]] = (),
        tree_layout: TreeLayout = "tree",
    ) -> None:
        self.network = network.eval()
        self.forward_calls = 0
        self.on_device = False
        self.in_groups = False
        self.tree_layout = tree_layout
        self.tokens_per_pass = 65536
        self._head = SelectiveLogitHead.install(network)
        kernel = getattr(network.config, "_attn_implementation", "sdpa")
        self._additive_mask = kernel == "eager"  # the others take booleans
        self._unpadded = tree_layout == "tree" and supports_unpadded(network)
        self._prefix_layers = {
            prefix: self._prefill(prefix) for prefix in map(tuple, prefixes)
        }

    @property
    def prefixes(self) -> list[tuple[int, ...]]:
        """The token sequences whose keys and values are at hand."""
        return list(self._prefix_layers)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.device
        return device

    def shared_prefix(self, prompts: Sequence[tuple[int, ...]]) -> tuple[int, Layers]:
        """Return the longest known prefix of all prompts: its length, its KV.

        It leaves each prompt one token at least, and depends on `prompts` alone.
        """
        most = min(len(prompt) for prompt in prompts) - 1
        length, layers = 0, list[tuple[torch.Tensor, torch.Tensor]]()
        for prefix, prefix_layers in self._prefix_layers.items():
            common = min(most, _common_prefix_length([prefix, *prompts]))
            if common > length:
                length, layers = common, prefix_layers
        return length, [(k[:, :, :length], v[:, :, :length]) for k, v in layers]

    def _prefill(self, tokens: Sequence[int]) -> Layers:
        cache = DynamicCache()
        length = len(tokens)
        padding_mask = np.ones((1, length), dtype=bool)
        causal_mask = np.tri(length, dtype=bool)[None]
        self.forward(
            np.asarray([tokens]),
            np.arange(length)[None],
            padding_mask if self.tree_layout == "rows" else causal_mask,
            cache,
            np.arange(length)[None] == length - 1,
        )
        layers: list[Any] = cache.layers
        return [(layer.keys, layer.values) for layer in layers]

    def new_cache(self, shared: Layers, rows: int) -> DynamicCache:
        """Return a cache for `rows` prompts that begin with `shared`."""
        if self.tree_layout == "rows":
            return SlotCache(shared, self.device)
        if self._unpadded:
            return UnpaddedCache(shared, rows, in_groups=self.in_groups)
        cache = DynamicCache()
        for index, (keys, values) in enumerate(shared):
            shape = (rows, -1, -1, -1)
            cache.update(keys.expand(shape), values.expand(shape), index)
        return cache

    def forward(
        self,
        tokens: Array,
        positions: Array,
        visible: Array,
        cache: DynamicCache,
        selected: Array,
    ) -> Array:
        """Run one pass and return logits (n, V) where `selected` (B, Q) is true.

        `tokens` and `positions` are (B, Q); `visible` (B, Q, T) says which of the T
        cached and new columns a query attends to; with (B, T), which are no padding:
        the network then adds causality and windows itself. `cache` grows by Q columns.
        """
        self.forward_calls += 1
        with torch.inference_mode():
            if isinstance(cache, UnpaddedCache):
                self._head.selected = self._tensor(selected[cache.real][None])
                output = forward_unpadded(
                    self.network, tokens, positions, visible, cache
                )
            else:
                self._head.selected = self._tensor(selected)
                output = self.network(
                    input_ids=self._tensor(tokens),
                    position_ids=self._tensor(positions),
                    attention_mask=self._mask(visible),
                    past_key_values=cache,
                    use_cache=True,
                )
            logits: Any = output.logits[0]
            result: Array = logits if self.on_device else logits.cpu().numpy()
            return result

    def _mask(self, visible: Array) -> torch.Tensor:
        if visible.ndim == 2:  # noqa: PLR2004 - a padding mask (B, T)
            return self._tensor(visible)
        mask = self._tensor(visible)[:, None]  # (B, 1, Q, T), for all heads
        if not self._additive_mask:
            return mask
        dtype = self.network.dtype
        blocked = torch.full_like(mask, torch.finfo(dtype).min, dtype=dtype)
        return blocked.masked_fill(mask, 0)

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.tensor(array, device=self.device)


def _common_prefix_length(sequences: Sequence[tuple[int, ...]]) -> int:
    """Return the length of the longest common prefix."""
    # In lexicographic order the first and the last differ soonest.
    low, high = min(sequences), max(sequences)
    for i, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b:
            return i
    return min(len(low), len(high))
