"""Several passes of one network with its dropout on (Gal and Ghahramani 2016).

A text is read K times at once, alone: the units that are dropped then depend on its
tokens and nothing else, so that a run that is interrupted, or whose batches fall
otherwise, records the same logits.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch

from safebench.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence


def turn_on_dropout(network: Any, label: str) -> None:
    """Let a network drop units while it classifies; `ModelError` if it has none."""
    rates = [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)]
    if not any(rates):
        raise ModelError(
            f"model {label!r} has no dropout: mc_dropout would read the same K times"
        )
    # Whole, since attention asks its own module and holds no layer of dropout. The
    # encoders that this reads have no other layer that differs while training.
    network.train()


def pass_names(members: Sequence[str], passes: int) -> list[str]:
    """Return the name of each pass of each member, in the order of the logits."""
    if len(members) == 1:
        return [f"pass-{i + 1:02d}" for i in range(passes)]
    return [f"{member}/pass-{i + 1:02d}" for member in members for i in range(passes)]


def forward_passes(
    network: Any, inputs: dict[str, torch.Tensor], passes: int
) -> torch.Tensor:
    """Return logits (B, K, C) of B padded rows, each read K times with dropout."""
    rows = [
        _read_repeatedly(network, _unpadded(inputs, row), passes)
        for row in range(len(inputs["input_ids"]))
    ]
    return torch.stack(rows)


def _unpadded(inputs: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """Return one row of a batch, (1, T), without its padding."""
    mask = inputs["attention_mask"][row].bool()
    return {name: values[row][mask][None] for name, values in inputs.items()}


def _read_repeatedly(
    network: Any, row: dict[str, torch.Tensor], passes: int
) -> torch.Tensor:
    device = row["input_ids"].device
    devices = [device] if device.type == "cuda" else []
    repeated = {name: values.expand(passes, -1) for name, values in row.items()}
    with torch.random.fork_rng(devices):
        torch.manual_seed(_seed(row["input_ids"]))
        logits: torch.Tensor = network(**repeated).logits
    return logits


def _seed(ids: torch.Tensor) -> int:
    """Return a seed of 32 bits, which is what the CPU's generator reads."""
    text = ",".join(map(str, ids.flatten().tolist()))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
