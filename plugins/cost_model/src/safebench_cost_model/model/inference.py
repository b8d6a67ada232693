"""A stored cost model, loaded to score exchanges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from safebench.torch_utils import ModelFolder, load_adapters

from .encoding import ExchangeCollator
from .network import (
    MeanPoolingCost,
    choose_padding,
    keep_head_float32,
    load_cost_network,
    load_mean_pooling,
    model_family,
    predict_costs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from safebench.torch_utils import Placement
    from safebench.typing import Array

    from .location import CostModelLocation

# Below this a CPU serves best with one thread; MiniLM has 23 million parameters.
SINGLE_THREAD_PARAMETERS = 50_000_000
# PKU's own cost models have another name for their head.
HEAD_RENAMES = {"^score_head": "score"}


@dataclass(frozen=True, slots=True)
class CostEnsemble:
    """One network or more, each of which has a cost for every row.

    They are `networks`, or the one network there with each of its `adapters`.
    """

    networks: tuple[Any, ...]
    adapters: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.adapters) or len(self.networks)

    @property
    def first_network(self) -> Any:
        """The first network, whose shape is that of all."""
        return self.networks[0]

    def score(self, batch: dict[str, Tensor]) -> Array:
        """Return the costs of a batch of N rows by each of M members, (M, N)."""
        costs = []
        for i in range(len(self)):
            network = self.first_network if self.adapters else self.networks[i]
            if self.adapters:
                network.set_adapter(self.adapters[i])
            costs.append(predict_costs(network, [batch]))
        stacked: Array = torch.stack(costs).numpy().astype(float)
        return stacked


def load_cost_model(
    location: CostModelLocation, placement: Placement
) -> tuple[CostEnsemble, Any, ExchangeCollator]:
    """Return networks (in evaluation mode, on the device), tokenizer and collator."""
    # Refused before gigabytes of weights are read.
    config = ModelFolder(location.folder, location.label).config()
    model_family(config, location.label)
    folders = (location.folder,) if location.adapters else location.networks
    networks = [_load(folder, location, placement.dtype) for folder in folders]
    tokenizer = ModelFolder(location.networks[0], location.label).tokenizer()
    pad_ids = [choose_padding(network, tokenizer) for network in networks]
    collator = build_collator(networks[0], tokenizer, pad_ids[0])
    adapters: tuple[str, ...] = ()
    if location.adapters:
        named = {f"member{i}": folder for i, folder in enumerate(location.networks)}
        network = load_adapters(networks[0], named, location.label)
        if len(named) == 1:
            # Merged, one network is as fast as its base; several share the base.
            network = network.merge_and_unload()
            keep_head_float32(network)
        else:
            adapters = tuple(named)
        networks = [network]
    for network in networks:
        network.to(placement.device).eval()
        placement.limit_threads(network, SINGLE_THREAD_PARAMETERS)
    return CostEnsemble(tuple(networks), adapters), tokenizer, collator


def _load(folder: Path, location: CostModelLocation, dtype: torch.dtype) -> Any:
    if location.pooling == "mean":
        return load_mean_pooling(folder, location.label, dtype)
    return load_cost_network(
        folder,
        location.label,
        dtype=dtype,
        new_head=location.adapters,
        layers=location.layers if location.adapters else 0,
        key_mapping=HEAD_RENAMES,
    )


def build_collator(network: Any, tokenizer: Any, pad_token_id: int) -> ExchangeCollator:
    """Return what makes batches that this network takes."""
    return ExchangeCollator(
        pad_token_id,
        with_token_types="token_type_ids" in tokenizer.model_input_names,
        with_sides=isinstance(network, MeanPoolingCost),
    )
