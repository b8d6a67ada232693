"""A stored cost model, loaded to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from safebench.neural.device import choose_threads
from safebench.neural.loading import load_tokenizer

from .batches import Collator
from .network import (
    choose_padding,
    family_of,
    keep_head_exact,
    load_adapters,
    load_config,
    load_network,
    score,
)
from .pooled import MeanCost, load_pooled

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from .found import Found

    Array = np.ndarray[Any, np.dtype[Any]]

_SMALL = 50_000_000  # parameters; MiniLM has 23 million
# PKU's own cost models call their head so.
RENAMED = {"^score_head": "score"}


@dataclass(frozen=True, slots=True)
class Ensemble:
    """One network or more, each of which has a cost for every row.

    They are `networks`, or the one network there with each of its `adapters`.
    """

    networks: tuple[Any, ...]
    adapters: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.adapters) or len(self.networks)

    @property
    def first(self) -> Any:
        """The first network, whose shape is that of all."""
        return self.networks[0]

    def score(self, batch: dict[str, Tensor]) -> Array:
        """Return the costs of a batch of N rows by each of M members, (M, N)."""
        found = []
        for i in range(len(self)):
            network = self.first if self.adapters else self.networks[i]
            if self.adapters:
                network.set_adapter(self.adapters[i])
            found.append(score(network, [batch]))
        costs: Array = torch.stack(found).numpy().astype(float)
        return costs


def load_cost_model(
    found: Found, device: torch.device, dtype: torch.dtype
) -> tuple[Ensemble, Any, Collator]:
    """Return networks (ready to be asked, on the device), tokenizer and collator."""
    family_of(load_config(found.folder, found.label), found.label)
    bases = (found.folder,) if found.adapters else found.networks
    networks = [_load(base, found, dtype) for base in bases]
    tokenizer = load_tokenizer(found.networks[0], found.label)
    pads = [choose_padding(network, tokenizer) for network in networks]
    collator = collator_for(networks[0], tokenizer, pads[0])
    adapters: tuple[str, ...] = ()
    if found.adapters:
        named = {f"member{i}": folder for i, folder in enumerate(found.networks)}
        network = load_adapters(networks[0], named, found.label)
        if len(named) == 1:
            network = network.merge_and_unload()
            keep_head_exact(network)
        else:
            adapters = tuple(named)
        networks = [network]
    for network in networks:
        network.to(device).eval()
        choose_threads(network, device, small=_SMALL)
    return Ensemble(tuple(networks), adapters), tokenizer, collator


def _load(folder: Path, found: Found, dtype: torch.dtype) -> Any:
    if found.pooling == "mean":
        return load_pooled(folder, found.label, dtype)
    return load_network(
        folder,
        found.label,
        dtype=dtype,
        new_head=found.adapters,
        layers=found.layers if found.adapters else 0,
        renamed=RENAMED,
    )


def collator_for(network: Any, tokenizer: Any, pad: int) -> Collator:
    """Return what makes batches that this network takes."""
    types = "token_type_ids" in tokenizer.model_input_names
    pooled = isinstance(network, MeanCost)
    return Collator(pad, with_types=types, with_sides=pooled)
