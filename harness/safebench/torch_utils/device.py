"""Devices, number formats and threads: choose one, or say why it cannot be had."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from safebench.errors import ModelError, OptionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below so many parameters, one thread of a busy machine serves a model best.
SMALL_MODEL_PARAMETERS = 20_000_000
_DEVICE_TYPES = ("auto", "cpu", "cuda", "mps", "xpu")
_CPU_INFO = Path("/proc/cpuinfo")
_BF16_CPU_FLAGS = ("amx_bf16", "avx512_bf16")
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


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


def pick_precision(name: str, device: torch.device) -> str:
    """Return bf16, fp16 or fp32 for training; "auto" is bf16 where hardware has it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else "fp32"


def cpu_has_bf16(info: Path = _CPU_INFO) -> bool:
    """Tell whether the CPU multiplies in bfloat16; emulated, it is slower than fp32."""
    try:
        flags = info.read_text(encoding="utf-8")
    except OSError:
        return False
    return any(flag in flags for flag in _BF16_CPU_FLAGS)


def choose_threads(
    network: Any, device: torch.device, small_parameters: int = SMALL_MODEL_PARAMETERS
) -> None:
    """Let a model below `small_parameters` on a CPU run on one thread.

    Its operations are too short to share: on a busy machine, handing them around made
    the same run seven times slower.
    """
    size = sum(weights.numel() for weights in network.parameters())
    if device.type == "cpu" and size < small_parameters:
        torch.set_num_threads(1)


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    names = os.environ.get(VISIBLE_DEVICES)
    if names:
        return names.split(",")
    return [str(i) for i in range(torch.cuda.device_count())]


@contextmanager
def restrict_to_gpu(gpu: str | None) -> Iterator[None]:
    """Show one GPU alone to processes that start now; None changes nothing."""
    before = os.environ.get(VISIBLE_DEVICES)
    if gpu is not None:
        os.environ[VISIBLE_DEVICES] = gpu
    try:
        yield
    finally:
        if gpu is not None:
            os.environ.pop(VISIBLE_DEVICES)
            if before is not None:
                os.environ[VISIBLE_DEVICES] = before


def _accelerator() -> str:
    return next((kind for kind in _DEVICE_TYPES[2:] if _device_count(kind)), "")


def _device_count(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count()
    if kind == "xpu":
        return torch.xpu.device_count()
    return int(torch.backends.mps.is_available())
