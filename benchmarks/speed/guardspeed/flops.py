"""Model-FLOP utilisation: arithmetic of a run against that of a device."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .setting import Setting


def matmul_rate(device: torch.device, size: int = 8192, repeats: int = 20) -> float:
    """Return the FLOP/s of dense bfloat16 matrix products, measured here."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    b = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        a @ b
    synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        a @ b
    synchronize(device)
    return 2.0 * size**3 * repeats / (time.perf_counter() - began)


def synchronize(device: torch.device) -> None:
    """Wait for what a GPU still computes; a CPU has nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def model_flop(setting: Setting, tokens: float, rows: float) -> float:
    """Return the products of `tokens` in the layers and `rows` in the output layer.

    Attention itself is left out; padding is no work.
    """
    layers = setting.block_parameters * tokens
    return 2.0 * (layers + setting.head_parameters * rows)
