"""The executor `processes`: worker processes of this machine, one model each.

Each has GPUs of its own where there are some. Workers are new processes and no copies
(fork) of this one: a copy of a process with a GPU context, or with threads, cannot
compute.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safebench.errors import OptionError

from .base import Executor, Workers
from .events import Ended
from .frames import read_frame, unpack, write_frame
from .gpus import gpu_shares, named_gpu, visible_gpus
from .pool import Launcher, WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .base import ClassifierJob, Shard
    from .events import Event

DEFAULT_WORKERS = 2  # without a GPU
SECONDS_TO_END = 2.0  # of a worker that was asked to
_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; "
    "from safebench.executors.process_worker import main; main({worker})"
)


@dataclass(frozen=True, kw_only=True)
class ProcessOptions:
    """How many workers there are, and what each of them has.

    `workers` 0: one for each share of the GPUs, 2 without a GPU. `gpus_per_worker`
    (None: 1 where there are GPUs) and `threads_per_worker` (0: OMP_NUM_THREADS, or
    else the cores shared out) are what each worker computes with.
    """

    workers: int = field(
        default=0, metadata={"help": "processes; 0: one a GPU, 2 without GPUs"}
    )
    gpus_per_worker: int | None = field(
        default=None, metadata={"help": "GPUs of each; none: 1 where there are some"}
    )
    threads_per_worker: int = field(
        default=0,
        metadata={"help": "CPU threads of each; 0: OMP_NUM_THREADS, or a share"},
    )

    def __post_init__(self) -> None:
        for name in ("workers", "gpus_per_worker", "threads_per_worker"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise OptionError(f"executor 'processes': {name} cannot be {value}")


class ProcessExecutor(Executor):
    """Starts worker processes on this machine."""

    options: ProcessOptions

    def start(self, job: ClassifierJob, log: Callable[[str], None]) -> Workers:
        """Start workers; return when the first one is ready."""
        asked = self.options.gpus_per_worker
        gpus = [] if asked == 0 else visible_gpus()
        shares = gpu_shares(gpus, asked or None)
        if shares and (name := named_gpu(job.options)):
            raise OptionError(
                f"{job.label}: device={name} names one GPU, and with the executor "
                f"processes each worker has its own: device={name.partition(':')[0]}"
            )
        n_workers = self.options.workers or len(shares) or DEFAULT_WORKERS
        if len(shares) < n_workers and shares:
            log(f"{job.label}: {n_workers} workers share {len(gpus)} GPUs")
        environments = [
            self._environment(
                shares[place % len(shares)] if shares else None, n_workers
            )
            for place in range(n_workers)
        ]
        return WorkerPool(ProcessLauncher(environments), n_workers, job, log)

    def _environment(self, gpus: list[str] | None, n_workers: int) -> dict[str, str]:
        """Return a worker's environment: its GPUs and threads.

        Threads that all workers start for every core would stand in each other's way.
        """
        threads = self.options.threads_per_worker or _threads(n_workers)
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        environment["TOKENIZERS_PARALLELISM"] = "false"
        if gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        return environment


def _threads(n_workers: int) -> int:
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isascii() and chosen.isdigit() and int(chosen):
        return int(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return max(1, (cores or os.cpu_count() or 1) // n_workers)


class ProcessLauncher(Launcher):
    """Worker processes, each behind two pipes; a thread a worker reads its answers.

    `environments` are those of the places.
    """

    def __init__(self, environments: list[dict[str, str]]) -> None:
        self.environments = environments
        self.events: queue.Queue[Event] = queue.Queue()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, worker: int, place: int, job: ClassifierJob) -> None:
        """Start a process, and send it the classifier."""
        program = _PROGRAM.format(path=sys.path, worker=worker)
        process = subprocess.Popen(  # noqa: S603 - this interpreter, our own program
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.environments[place],
        )
        self.processes[worker] = process
        reader = threading.Thread(target=self._read_events, args=[process], daemon=True)
        reader.start()
        threading.Thread(
            target=self._await_end, args=[worker, process, reader], daemon=True
        ).start()
        self._send(worker, job)

    def restore(self, worker: int, state: Mapping[str, Any]) -> None:
        """Send a state."""
        self._send(worker, dict(state))

    def submit(self, worker: int, shard: Shard) -> None:
        """Send a shard."""
        self._send(worker, shard)

    def next_event(self) -> Event:
        """Wait for an event."""
        return self.events.get()

    def stop(self, worker: int) -> None:
        """End a process."""
        process = self.processes.pop(worker, None)
        if process is not None:
            _end([process])

    def close(self) -> None:
        """End all processes."""
        processes = list(self.processes.values())
        self.processes.clear()
        _end(processes)

    def _send(self, worker: int, message: Any) -> None:
        stream = self.processes[worker].stdin
        assert stream is not None, "opened as a pipe"
        with suppress(OSError):  # it has ended, which its reader reports
            write_frame(stream, message)

    def _read_events(self, process: subprocess.Popen[bytes]) -> None:
        """Hand on what a worker reports."""
        stream = process.stdout
        assert stream is not None, "opened as a pipe"
        with stream, suppress(EOFError, OSError):
            while True:
                event: Event = unpack(read_frame(stream))
                self.events.put(event)

    def _await_end(
        self, worker: int, process: subprocess.Popen[bytes], reader: threading.Thread
    ) -> None:
        """Report how a worker ends, after what it has reported itself.

        Processes that it started may hold its pipe open, so that no end of it comes.
        """
        code = process.wait()
        reader.join(SECONDS_TO_END)
        self.events.put(Ended(worker, ending(code)))


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes: asked first, so that what they started can end with them."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            with suppress(OSError):  # of what it did not read any more
                process.stdin.close()


def ending(code: int) -> str:
    """Say how a process ended, by its exit code (negative: the signal)."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    likely = " (the system does that where memory runs out)"
    return f"was ended by {name}" + (likely if name == "SIGKILL" else "")
