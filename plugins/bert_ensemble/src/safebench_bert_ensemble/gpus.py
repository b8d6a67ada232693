"""Which GPUs a process sees."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    named = os.environ.get(VISIBLE)
    if named:
        return named.split(",")
    return [str(i) for i in range(torch.cuda.device_count())]


@contextmanager
def only(gpu: str | None) -> Iterator[None]:
    """Show one GPU alone to whatever starts now; None changes nothing."""
    before = os.environ.get(VISIBLE)
    if gpu is not None:
        os.environ[VISIBLE] = gpu
    try:
        yield
    finally:
        if gpu is not None:
            os.environ.pop(VISIBLE)
            os.environ.update({VISIBLE: before} if before is not None else {})
