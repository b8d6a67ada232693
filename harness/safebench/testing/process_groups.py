"""Runs a function in the processes of a group, as a launcher starts a command.

They are forked, so that what a test has imported is there already: a launcher's own
processes import torch anew, which takes each of them seconds.
"""

from __future__ import annotations

import faulthandler
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.context import ForkProcess

# Seconds. A group takes some; many times that on a machine that does other work.
TIMEOUT = 600.0
# After one has failed, the others wait for it in vain: that long may they still say so.
_GRACE = 2.0


def run_in_group(
    size: int, function: Callable[..., Any], *arguments: Any, timeout: float = TIMEOUT
) -> None:
    """Call a function in `size` processes that are numbered as torchrun does.

    Raises `RuntimeError` with what the processes that failed said: their traceback,
    the stack in which a signal ended them, or the stacks in which they still were after
    `timeout` seconds. For tests on CPUs: processes that have used a GPU cannot be
    forked.
    """
    context = multiprocessing.get_context("fork")
    ports = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as name:
        reports = [Path(name) / f"process-{rank}" for rank in range(size)]
        processes = [
            context.Process(
                target=_run,
                args=(rank, size, ports, report, function, arguments),
            )
            for rank, report in enumerate(reports)
        ]
        for process in processes:
            process.start()
        with _group_store() as port:
            for _ in processes:
                ports.put(port)
            ended = _wait_for(processes, timeout)
        if any(process.exitcode for process in processes):
            raise RuntimeError(_described(processes, reports, ended))


@contextmanager
def _group_store() -> Iterator[int]:
    """Yield the port at which the processes find each other.

    The server runs here, as torchrun's does: a port that was free a moment ago, for
    one of the processes to listen at, may be another program's by then. Made after the
    forks, as it has threads.
    """
    # By its name: what this package offers to plugins should not depend on torch.
    torch: Any = importlib.import_module("torch")
    store = torch.distributed.TCPStore(
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    yield store.port
    del store


def _wait_for(processes: list[ForkProcess], timeout: float) -> dict[int, str]:
    """Wait for all, or shortly longer than the first that fails; end those left.

    Returns why each of those was ended, by rank.
    """
    deadline = time.monotonic() + timeout
    running: dict[Any, ForkProcess] = {p.sentinel: p for p in processes}
    reason = f"after {timeout:g} s"
    while running and (left := deadline - time.monotonic()) > 0:
        for sentinel in wait(list(running), left):
            process = running.pop(sentinel)
            process.join()
            if process.exitcode:
                reason = "ended, since another failed"
                deadline = min(deadline, time.monotonic() + _GRACE)
    for process in running.values():
        if process.pid is not None:
            os.kill(process.pid, signal.SIGABRT)  # on which it reports its stacks
        process.join(_GRACE)
        process.kill()
        process.join()
    return {processes.index(process): reason for process in running.values()}


def _described(
    processes: list[ForkProcess], reports: list[Path], ended: dict[int, str]
) -> str:
    """Return what each process that failed, or was ended, has reported."""
    lines = []
    for rank, (process, report) in enumerate(zip(processes, reports, strict=True)):
        if process.exitcode:
            why = ended.get(rank, f"exit code {process.exitcode}")
            text = report.read_text(errors="replace").strip() if report.exists() else ""
            lines.append(f"process {rank} ({why}): {text or 'it said nothing'}")
    return "\n".join(sorted(lines, key=lambda line: "another failed" in line))


def _run(
    rank: int,
    size: int,
    ports: Any,
    report: Path,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    code = 1
    # pytest's own file is shared by all processes of the group.
    with report.open("w") as file:
        faulthandler.enable(file, all_threads=True)
        # The report says what a dump of all memory could.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
            numbers |= {"LOCAL_WORLD_SIZE": size, "MASTER_PORT": ports.get()}
            os.environ.update({name: str(number) for name, number in numbers.items()})
            os.environ["MASTER_ADDR"] = "127.0.0.1"
            # The server is there already: no process of the group starts one.
            os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
            _use_loopback()
            renew_threads()
            _forget_group()
            function(*arguments)
            code = 0
        except BaseException:  # noqa: BLE001 - the test raises it
            file.write(traceback.format_exc())
        finally:
            file.flush()
            # Without the clean-up of the test run that this process is a copy of.
            os._exit(code)


def _use_loopback() -> None:
    """Let gloo listen where the others look for it: a machine's name may lead away."""
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


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
