"""What the numbers were measured on."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .setup import Setup


def measure(setup: Setup) -> dict[str, Any]:
    """Return name, memory (GiB) and compute capability; raises without a GPU."""
    if setup.device == "cpu":
        return {"name": f"{platform.machine()}, {platform.system()}"}
    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no GPU here; --dry needs none")
    facts = torch.cuda.get_device_properties(0)
    return {
        "name": facts.name,
        "memory_gib": round(facts.total_memory / 2**30, 1),
        "capability": f"{facts.major}.{facts.minor}",
        "cuda": torch.version.cuda,
    }
