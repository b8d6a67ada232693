"""A Hugging Face causal model behind the engine's protocol: batches of verdict trees.

A batch is one prefill and one forward pass a tree level. Prompts share the keys and
values of a known prefix. How nodes are laid out for the passes is a session's matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import DynamicCache

from .head import FrontierHead
from .packed import PackedCache, packable, run_packed
from .row_session import RowSession
from .slots import SlotCache
from .tree_session import TreeSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .attention import Layout

    Array = np.ndarray[Any, np.dtype[Any]]
    Layers = list[tuple[torch.Tensor, torch.Tensor]]


class HfModel:
    """A `NextTokenModel` around a causal network.

    `prefixes` are token sequences that many prompts start with: the keys and values of
    each are computed here, once. Logits are computed in float32 at least, and only at
    the positions that are asked for; they are numpy arrays, or with `on_device` tensors
    that stay where they are (for a digester such as `torch_digest.TorchDigester`).
    `layout` says how a tree goes through the network: "tree" is one row a prompt and a
    mask, "rows" one row a node, at most `row_tokens` tokens (rows x length) a pass.
    """

    def __init__(
        self,
        network: Any,
        pieces: Sequence[bytes],
        eos: Iterable[int],
        prefixes: Iterable[Sequence[int]] = (),
        layout: Layout = "tree",
    ) -> None:
        self.network = network.eval()
        self.pieces = pieces
        self.eos = frozenset(eos)
        self.forward_calls = 0
        self.on_device = False
        self.layout = layout
        self.row_tokens = 65536
        self._head = FrontierHead.install(network)
        config = network.config
        self._additive = getattr(config, "_attn_implementation", "sdpa") == "eager"
        self._packs = layout == "tree" and packable(network)
        self._shared = {known: self._prefill(known) for known in map(tuple, prefixes)}

    @property
    def prefixes(self) -> list[tuple[int, ...]]:
        """The token sequences whose keys and values are at hand."""
        return list(self._shared)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.device
        return device

    def open(self, prompts: Sequence[Sequence[int]]) -> TreeSession | RowSession:
        """Prefill prompts in one forward pass."""
        asked = _checked(prompts)
        if self.layout == "rows":
            return RowSession(self, asked)
        return TreeSession(self, asked)

    def open_drafted(
        self, prompts: Sequence[Sequence[int]], parents: Array, tokens: Array
    ) -> TreeSession:
        """Prefill prompts, each with a static tree after it, in one forward pass."""
        assert self.layout == "tree", "no mask can keep a draft's branches apart"
        return TreeSession(self, _checked(prompts), parents, tokens)

    def prefix(self, prompts: Sequence[tuple[int, ...]]) -> tuple[int, Layers]:
        """Return the longest known prefix of all prompts: its length, its KV.

        It leaves each prompt one token at least, and depends on `prompts` alone.
        """
        most = min(len(prompt) for prompt in prompts) - 1
        best, layers = 0, list[tuple[torch.Tensor, torch.Tensor]]()
        for known, found in self._shared.items():
            count = min(most, _common([known, *prompts]))
            if count > best:
                best, layers = count, found
        return best, [(k[:, :, :best], v[:, :, :best]) for k, v in layers]

    def _prefill(self, tokens: Sequence[int]) -> Layers:
        cache = DynamicCache()
        count = len(tokens)
        everyone = np.ones((1, count), dtype=bool)
        self.forward(
            np.asarray([tokens]),
            np.arange(count)[None],
            everyone if self.layout == "rows" else np.tri(count, dtype=bool)[None],
            cache,
            np.arange(count)[None] == count - 1,
        )
        layers: list[Any] = cache.layers
        return [(layer.keys, layer.values) for layer in layers]

    def forward(
        self,
        tokens: Array,
        positions: Array,
        visible: Array,
        cache: DynamicCache,
        wanted: Array,
    ) -> Array:
        """Run one pass and return logits (n, V) where `wanted` (B, Q) is true.

        `tokens` and `positions` are (B, Q); `visible` (B, Q, T) says which of the T
        cached and new columns a query attends to; of (B, T) those that come before it
        and that a layer reaches. `cache` grows by Q columns.
        """
        self.forward_calls += 1
        with torch.inference_mode():
            if isinstance(cache, PackedCache):
                self._head.wanted = self._tensor(wanted[cache.real][None])
                out = run_packed(self.network, tokens, positions, visible, cache)
            else:
                self._head.wanted = self._tensor(wanted)
                out = self.network(
                    input_ids=self._tensor(tokens),
                    position_ids=self._tensor(positions),
                    attention_mask=self._mask(visible),
                    past_key_values=cache,
                    use_cache=True,
                )
            logits: Any = out.logits[0]
            found: Array = logits if self.on_device else logits.cpu().numpy()
            return found

    def cache(self, shared: Layers, rows: int) -> DynamicCache:
        """Return a cache for `rows` prompts that begin with `shared`."""
        if self.layout == "rows":
            return SlotCache(shared, self.device)
        if self._packs:
            return PackedCache(shared, rows)
        cache = DynamicCache()
        for index, (keys, values) in enumerate(shared):
            shape = (rows, -1, -1, -1)
            cache.update(keys.expand(shape), values.expand(shape), index)
        return cache

    def _mask(self, visible: Array) -> torch.Tensor:
        if visible.ndim == 2:  # noqa: PLR2004 - the network makes its own from it
            return self._tensor(visible)
        mask = self._tensor(visible)[:, None]  # (B, 1, Q, T), for all heads
        if not self._additive:
            return mask
        dtype = self.network.dtype
        blocked = torch.full_like(mask, torch.finfo(dtype).min, dtype=dtype)
        return blocked.masked_fill(mask, 0)

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.tensor(array, device=self.device)


def _checked(prompts: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    assert prompts, "a session needs a prompt"
    assert all(prompts), "an empty prompt has no next token"
    return [tuple(prompt) for prompt in prompts]


def _common(sequences: Sequence[tuple[int, ...]]) -> int:
    """Return the length of the longest common prefix."""
    low, high = min(sequences), max(sequences)  # the two that differ soonest
    for i, (a, b) in enumerate(zip(low, high, strict=False)):
        if a != b:
            return i
    return min(len(low), len(high))
