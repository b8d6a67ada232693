"""The GPUs that worker processes of this machine share out."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from itertools import takewhile
from typing import Any

from safebench.errors import OptionError

_GPU_NAME = re.compile(r"(cuda|xpu):\d+\Z")


def visible_gpus() -> list[str]:
    """Return the GPUs of this process, as CUDA_VISIBLE_DEVICES names them.

    Without that variable PyTorch counts them, if it is installed.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names = [name.strip() for name in listed.split(",")]
        # CUDA reads no further than a number that is none
        return list(takewhile(lambda name: name and not name.startswith("-"), names))
    if find_spec("torch") is None:
        return []
    from safebench.torch_utils.device import n_cuda_devices

    return [str(number) for number in range(n_cuda_devices())]


def gpu_shares(gpus: list[str], asked: int | None) -> list[list[str]]:
    """Return the GPUs in groups of `asked`; those that are left over are not used.

    None: one each, if there are any. Raises `OptionError` if there are too few.
    """
    size = 1 if asked is None else asked
    if asked is not None and len(gpus) < size:
        raise OptionError(
            f"gpus_per_worker={size}: this process sees {len(gpus)} of them"
        )
    return [gpus[i : i + size] for i in range(0, len(gpus) - size + 1, size)]


def named_gpu(options: Any) -> str:
    """Return a classifier's option `device` if it names one GPU by number, or ""."""
    device = str(getattr(options, "device", "") or "")
    return device if _GPU_NAME.match(device) else ""
