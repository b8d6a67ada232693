"""Choose device, number format and threads, or say why a choice cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from safebench.errors import ModelError, OptionError, nearest

SMALL = 20_000_000  # parameters that one thread of a busy machine serves best
_KINDS = ("auto", "cpu", "cuda", "mps", "xpu")
_CPU_INFO = Path("/proc/cpuinfo")
_BF16 = ("amx_bf16", "avx512_bf16")


def pick_device(wanted: str) -> torch.device:
    """Return the device of that name; "auto" is the first accelerator, else the CPU."""
    if wanted == "auto":
        return torch.device(_accelerator() or "cpu")
    kind = wanted.partition(":")[0]
    if kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise OptionError(
            f"unknown device {wanted!r}{nearest(kind, _KINDS)}\n  there is: {known}"
        )
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise OptionError(f"device {wanted!r}: not of the form cuda:0") from error
    if device.type != "cpu" and (device.index or 0) >= _count(device.type):
        here = _accelerator()
        raise ModelError(
            f"device {wanted!r} was asked for, but PyTorch {torch.__version__} sees "
            f"{_count(device.type)} of that kind here; "
            f"device={here or 'cpu'} or device=auto would work"
        )
    return device


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """Return the number format for judging.

    "auto" is half precision on a GPU (bfloat16 where it has that), float32 elsewhere.
    """
    if wanted != "auto":
        dtype: torch.dtype = getattr(torch, wanted)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.float32


def pick_precision(wanted: str, device: torch.device) -> str:
    """Return bf16, fp16 or fp32 for training; "auto" is bf16 where hardware has it."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else "fp32"


def cpu_has_bf16(info: Path = _CPU_INFO) -> bool:
    """Tell whether the CPU multiplies in bfloat16; emulated, it is slower than fp32."""
    try:
        flags = info.read_text(encoding="utf-8")
    except OSError:
        return False
    return any(flag in flags for flag in _BF16)


def choose_threads(network: Any, device: torch.device, small: int = SMALL) -> None:
    """Let a model below `small` parameters on a CPU run on one thread.

    Its operations are too short to share: on a busy machine, handing them around made
    the same run seven times slower.
    """
    size = sum(weights.numel() for weights in network.parameters())
    if device.type == "cpu" and size < small:
        torch.set_num_threads(1)


def _accelerator() -> str:
    return next((kind for kind in _KINDS[2:] if _count(kind)), "")


def _count(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count()
    if kind == "xpu":
        return torch.xpu.device_count()
    return int(torch.backends.mps.is_available())
