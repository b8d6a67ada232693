"""A stored cost model, loaded to be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.neural.device import choose_threads

from .batches import Collator
from .network import (
    choose_padding,
    family_of,
    keep_head_exact,
    load_adapters,
    load_config,
    load_network,
    load_tokenizer,
)
from .pooled import MeanCost, load_pooled

if TYPE_CHECKING:
    import torch

    from .found import Found

_SMALL = 50_000_000  # parameters; MiniLM has 23 million
# PKU's own cost models call their head so.
RENAMED = {"^score_head": "score"}


def load_cost_model(
    found: Found, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Any, Collator]:
    """Return network (in evaluation mode, on the device), tokenizer and collator."""
    family_of(load_config(found.folder, found.label), found.label)
    if found.pooling == "mean":
        network = load_pooled(found.folder, found.label, dtype)
    else:
        network = load_network(
            found.folder,
            found.label,
            dtype=dtype,
            new_head=found.adapter is not None,
            layers=found.layers if found.adapter else 0,
            renamed=RENAMED,
        )
    tokenizer = load_tokenizer(found.adapter or found.folder, found.label)
    pad = choose_padding(network, tokenizer)
    if found.adapter:
        network = load_adapters(network, found.adapter, found.label)
        network = network.merge_and_unload()
        keep_head_exact(network)
    network.to(device).eval()
    choose_threads(network, device, small=_SMALL)
    return network, tokenizer, collator_for(network, tokenizer, pad)


def collator_for(network: Any, tokenizer: Any, pad: int) -> Collator:
    """Return what makes batches that this network takes."""
    types = "token_type_ids" in tokenizer.model_input_names
    pooled = isinstance(network, MeanCost)
    return Collator(pad, with_types=types, with_sides=pooled)
