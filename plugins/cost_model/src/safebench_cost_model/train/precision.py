"""Number formats of a training: of the arithmetic, of a base, of a base in 4 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from safebench.torch_utils import Placement, quantization_options
from safebench_cost_model.model.network import HEAD_NAMES

if TYPE_CHECKING:
    from safebench_cost_model.options import CostTrainOptions

_EXTRA = "safebench-cost-model[qlora]"


def base_dtype(options: CostTrainOptions, *, adapters: bool) -> torch.dtype:
    """Return the number format that a base is loaded in.

    What learns stays in float32, where small updates are not lost: all weights without
    `adapters`, and these alone with them.
    """
    return (half_precision(options) if adapters else None) or torch.float32


def quantization(options: CostTrainOptions) -> dict[str, Any]:
    """Return what a base is loaded with to be in 4 bits; {} to be whole."""
    if options.quantize == "none":
        return {}
    placement = Placement(Placement.choose().device, base_dtype(options, adapters=True))
    return quantization_options(placement, _EXTRA, whole=HEAD_NAMES)


def half_precision(options: CostTrainOptions) -> torch.dtype | None:
    """Return the format of 16 bits that a training computes in; None: float32."""
    if options.dtype == "auto":
        supported = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if supported else None
    dtype: torch.dtype = getattr(torch, options.dtype)
    return None if dtype == torch.float32 else dtype
