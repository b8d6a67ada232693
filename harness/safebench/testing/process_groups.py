"""Runs a function in the processes of a group, as a launcher starts a command.

They are forked, so that what a test has imported is there already: a launcher's own
processes import torch anew, which takes each of them seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_TIMEOUT = 120  # seconds


def run_in_group(size: int, function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in `size` processes that are numbered as torchrun does.

    Raises `RuntimeError` with the traceback of the first that failed. For tests on
    CPUs: processes that have used a GPU cannot be forked.
    """
    context = multiprocessing.get_context("fork")
    failures = context.SimpleQueue()
    port = _free_port()
    processes = [
        context.Process(
            target=_run, args=(rank, size, port, failures, function, arguments)
        )
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(_TIMEOUT)
        if process.is_alive() or not failures.empty():
            break
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()
    if not failures.empty():
        raise RuntimeError(failures.get())
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"exit codes {[process.exitcode for process in processes]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run(
    rank: int,
    size: int,
    port: int,
    failures: Any,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
    numbers |= {"LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({name: str(number) for name, number in numbers.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    code = 1
    try:
        renew_threads()
        _forget_group()
        function(*arguments)
        code = 0
    except BaseException:  # noqa: BLE001 - the test raises it
        failures.put(f"process {rank}: {traceback.format_exc()}")
    finally:
        # Without the clean-up of the test run that this process is a copy of.
        os._exit(code)


def renew_threads() -> None:
    """Let torch replace its pool of threads, none of which a fork has copied.

    The first operation after a fork replaces it, but not under a lock: where several
    threads come first, as when transformers reads weights, some of them find no pool
    ("Invalid thread pool!").
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(torch.get_num_threads())


def _forget_group() -> None:
    """Let accelerate look at the environment again: an earlier test was alone."""
    if library := sys.modules.get("accelerate.state"):
        library.AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001
