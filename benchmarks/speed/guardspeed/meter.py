"""Measure seconds, forward passes, tokens and memory of a block of code."""

from __future__ import annotations

import ctypes
import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB = 2**20
_STATUS = Path("/proc/self/status")


@dataclass(slots=True)
class Reading:
    """What a block took.

    `seconds` are of this process's CPU time, or of the wall clock where a GPU works.
    `tokens` are positions that went through the layers, padding included. `memory_mib`
    is the peak above what was held before (None where that cannot be had).
    """

    seconds: float = 0.0
    passes: int = 0
    tokens: int = 0
    memory_mib: float | None = None


@contextmanager
def measured(network: Any) -> Iterator[Reading]:
    """Measure a block that runs `network`."""
    reading, cuda = Reading(), network.device.type == "cuda"

    def count(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        reading.passes += 1
        reading.tokens += ids.numel()

    hook = network.register_forward_pre_hook(count, with_kwargs=True)
    before = _memory_reset(cuda=cuda)
    clock = time.perf_counter if cuda else time.process_time
    began = clock()
    try:
        yield reading
    finally:
        if cuda:
            torch.cuda.synchronize()
        reading.seconds = clock() - began
        hook.remove()
        peak = _peak(cuda=cuda)
        if before is not None and peak is not None:
            reading.memory_mib = max(0.0, peak - before)


def _memory_reset(*, cuda: bool) -> float | None:
    """Forget earlier peaks; return the MiB held now."""
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / _MIB
    gc.collect()
    try:
        # Freed memory that the allocator keeps would hide what the block takes.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    except OSError:
        return None
    return _status("VmRSS")


def _peak(*, cuda: bool) -> float | None:
    return torch.cuda.max_memory_allocated() / _MIB if cuda else _status("VmHWM")


def _status(name: str) -> float | None:
    """Return a line of the process's status in MiB."""
    if not _STATUS.exists():
        return None
    lines = _STATUS.read_text().splitlines()
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) / 1024 if found else None
