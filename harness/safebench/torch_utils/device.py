"""Devices, number formats and threads: choose one, or say why it cannot be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch

from safebench.errors import ModelError, OptionError, did_you_mean

# Below so many parameters, one thread of a busy machine serves a model best.
SMALL_MODEL_PARAMETERS = 20_000_000
_DEVICE_TYPES = ("auto", "cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a network runs, and in which number format."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str = "auto", dtype: str = "auto") -> Self:
        """Return the place of these names, as `pick_device` and `pick_dtype` read them.

        Raises `OptionError` for an unknown device, `ModelError` for one that is not
        there.
        """
        chosen = pick_device(device)
        return cls(chosen, pick_dtype(dtype, chosen))

    def limit_threads(
        self, network: Any, small_parameters: int = SMALL_MODEL_PARAMETERS
    ) -> None:
        """Let a model below `small_parameters` on a CPU run on one thread.

        Its operations are too short to share: on a busy machine, handing them around
        made the same run seven times slower.
        """
        size = sum(weights.numel() for weights in network.parameters())
        if self.device.type == "cpu" and size < small_parameters:
            torch.set_num_threads(1)


def pick_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is the first accelerator, else the CPU."""
    if name == "auto":
        return torch.device(_accelerator() or "cpu")
    kind = name.partition(":")[0]
    if kind not in _DEVICE_TYPES:
        known = ", ".join(_DEVICE_TYPES)
        raise OptionError(
            f"unknown device {name!r}{did_you_mean(kind, _DEVICE_TYPES)}\n"
            f"  there is: {known}"
        )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"device {name!r}: not of the form cuda:0") from error
    if device.type != "cpu" and (device.index or 0) >= _device_count(device.type):
        here = _accelerator()
        raise ModelError(
            f"device {name!r} was asked for, but PyTorch {torch.__version__} sees "
            f"{_device_count(device.type)} of that kind here; "
            f"device={here or 'cpu'} or device=auto would work"
        )
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the number format for inference.

    "auto" is half precision on a GPU (bfloat16 where it has that), float32 elsewhere.
    """
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float32


def _accelerator() -> str:
    return next((kind for kind in _DEVICE_TYPES[2:] if _device_count(kind)), "")


def n_cuda_devices() -> int:
    """Return how many CUDA devices this process sees."""
    return torch.cuda.device_count()


def _device_count(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count()
    if kind == "xpu":
        return torch.xpu.device_count()
    return int(torch.backends.mps.is_available())
