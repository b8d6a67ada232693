"""What members are trained on: a number format, and one GPU for each process."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_CPU_INFO = Path("/proc/cpuinfo")
_BF16_CPU_FLAGS = ("amx_bf16", "avx512_bf16")
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


def pick_precision(name: str, device: torch.device) -> str:
    """Return bf16, fp16 or fp32 for training; "auto" is bf16 where hardware has it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        # bf16 has the range of fp32, and needs no scaling of losses.
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device.type == "cpu" and cpu_has_bf16() else "fp32"


def cpu_has_bf16(info: Path = _CPU_INFO) -> bool:
    """Tell whether the CPU multiplies in bfloat16; emulated, it is slower than fp32."""
    try:
        flags = info.read_text(encoding="utf-8")
    except OSError:
        return False
    return any(flag in flags for flag in _BF16_CPU_FLAGS)


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    names = os.environ.get(VISIBLE_DEVICES)
    # The names may be UUIDs: they are passed on, and not counted from 0.
    if names:
        return names.split(",")
    return [str(i) for i in range(torch.cuda.device_count())]


@contextmanager
def restrict_to_gpu(gpu: str | None) -> Iterator[None]:
    """Show one GPU alone to processes that start now; None changes nothing."""
    # In our own environment, which children copy when they start: CUDA reads it once.
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
