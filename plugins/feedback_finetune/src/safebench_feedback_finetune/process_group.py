"""Processes that a launcher started for one command, and what they tell each other.

The main process alone reads data, decides and writes files, so that decisions are the
same in all of them, even where their arithmetic differs in the last digit. Others do a
share of the work that it hands out, and end when it does, with its exit code.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from safebench.errors import ModelError
from safebench.torch_utils import Placement
from safebench.training import is_main_process

if TYPE_CHECKING:
    from collections.abc import Iterator

# Others wait while the main process scores prompts, which may take hours.
GROUP_TIMEOUT = timedelta(days=1)


def join_group(device: str) -> None:
    """Connect with the other processes, if a launcher started any.

    `device` is the command's; on GPUs each process gets the one of its number. Waits
    for all of them.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) == 1:
        return
    import accelerate

    on_cpu = Placement.choose(device).device.type == "cpu"
    with _one_line():
        accelerate.PartialState(cpu=on_cpu, timeout=GROUP_TIMEOUT)


def group_size() -> int:
    """Return how many processes are connected; 1 without a group."""
    joined = torch.distributed.is_initialized()
    return int(torch.distributed.get_world_size()) if joined else 1


def group_rank() -> int:
    """Return this process's number, from 0; the main one has 0."""
    joined = torch.distributed.is_initialized()
    return int(torch.distributed.get_rank()) if joined else 0


def share(value: Any) -> Any:
    """Return the main process's value in all of them; each has to call this.

    Values are pickled by the launcher's own processes, for each other. Raises
    `ModelError` if a process has ended.
    """
    if group_size() == 1:
        return value
    import accelerate

    values = [value]
    with _one_line():
        accelerate.utils.broadcast_object_list(values, from_process=0)
    return values[0]


def gather(value: Any) -> list[Any]:
    """Return the values of all processes, by number; each has to call this.

    Raises `ModelError` if a process has ended.
    """
    if group_size() == 1:
        return [value]
    values: list[Any] = [None] * group_size()
    with _one_line():
        torch.distributed.all_gather_object(values, value)
    return values


def leave_group(code: int) -> int:
    """Wait for the main process to be done, and return its exit code."""
    if group_size() == 1:
        return code
    code = int(share(code))
    torch.distributed.destroy_process_group()
    return code


@contextmanager
def _one_line() -> Iterator[None]:
    """Turn what is raised where another process has ended, or never came, into one."""
    try:
        yield
    except RuntimeError as error:  # which those of torch.distributed are
        reason = " ".join(str(error).split())[:120]
        who = "a process" if is_main_process() else "another process"
        raise ModelError(
            f"{who} of this group has ended before its work was done; what it said "
            f"is the cause ({reason})"
        ) from error
