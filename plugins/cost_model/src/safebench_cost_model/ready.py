"""A base made ready to learn costs: one new output, adapters, padding, template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from safebench.neural.loading import load_tokenizer

from .encode import Encoder
from .loaded import collator_for
from .network import choose_padding, load_network, with_adapters
from .pooled import load_pooled
from .template import PAIR, QA

if TYPE_CHECKING:
    from .bases import Base
    from .batches import Collator
    from .network import Family
    from .options import TrainOptions


@dataclass(slots=True, kw_only=True)
class Ready:
    """A network with a new head, its tokenizer, and how texts are read for it."""

    network: Any
    tokenizer: Any
    encoder: Encoder
    collator: Collator
    lora: bool


def learns_adapters(family: Family, options: TrainOptions) -> bool:
    """Tell whether adapters are trained, and the base stays as it is."""
    return family == "decoder" and not options.full


def takes_means(family: Family, options: TrainOptions) -> bool:
    """Tell whether costs are read from mean states, not by the base's own pooling."""
    return family == "encoder" and options.pooling == "mean"


def prepare(base: Base, family: Family, options: TrainOptions) -> Ready:
    """Load a base with one new output, and adapters for decoders unless `full`."""
    lora = learns_adapters(family, options)
    dtype = torch.float32
    if lora and options.dtype == "bfloat16":
        dtype = torch.bfloat16  # the frozen part alone; what learns stays in float32
    if takes_means(family, options):
        network = load_pooled(
            base.folder, base.label, dtype, layers=options.layers, new_head=True
        )
    else:
        network = load_network(
            base.folder,
            base.label,
            dtype=dtype,
            new_head=True,
            layers=options.layers,
        )
    tokenizer = load_tokenizer(base.folder, base.label)
    pad = choose_padding(network, tokenizer)
    template = PAIR if family == "encoder" else QA
    reach = getattr(network.config.get_text_config(), "max_position_embeddings", None)
    length = min(options.max_length, reach or options.max_length)
    encoder = Encoder(tokenizer, template, length)
    if lora:
        network = with_adapters(
            network,
            rank=options.lora_r,
            alpha=options.lora_alpha,
            dropout=options.lora_dropout,
        )
    return Ready(
        network=network,
        tokenizer=tokenizer,
        encoder=encoder,
        collator=collator_for(network, tokenizer, pad),
        lora=lora,
    )
