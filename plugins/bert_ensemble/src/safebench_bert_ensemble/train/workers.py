"""Worker processes that train members side by side, and report to their parent.

Workers do not write to the terminal themselves: they would write into its progress bar.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch

from safebench.errors import ModelError, SafebenchError
from safebench.training import ProgressBar

from .hardware import restrict_to_gpu, visible_gpus
from .members import fit_members, steps_per_member
from .training_job import TrainingJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.queues import SimpleQueue

    Message = tuple[int, int, int, str]  # worker, steps done, steps skipped, a line

_POLL_SECONDS = 0.5


def train_in_processes(
    job: TrainingJob, members: Sequence[int], say: Callable[[str], None]
) -> None:
    """Train members in processes, each with its own GPU where there are some.

    Raises `ModelError` if a process fails; the others are ended.
    """
    gpus = visible_gpus() if job.options.device in ("auto", "cuda") else []
    count = min(job.options.workers or len(gpus) or 2, len(members))
    # Neither CUDA nor the threads of torch survive a fork.
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    say(f"{count} processes for {len(members)} members")
    bar = ProgressBar("training", steps_per_member(job) * len(members))
    with TemporaryDirectory(prefix="safebench-") as folder, bar:
        # In a file: as an argument, the job would fill the pipe to a process that
        # still imports, and hold up the start of the next one.
        job_file = Path(folder) / "job"
        job_file.write_text(job.to_json(), encoding="utf-8")
        workers = [
            context.Process(
                target=run_worker, args=(job_file, members[i::count], i, queue)
            )
            for i in range(count)
        ]
        listener = ProgressListener(queue, bar, say)
        try:
            for i, worker in enumerate(workers):
                gpu = gpus[i % len(gpus)] if gpus else None
                # Around the start, because a process keeps the GPUs and the signal
                # handlers that it is started with.
                with restrict_to_gpu(gpu), _ignore_interrupts():
                    worker.start()
            while any(worker.is_alive() for worker in workers):
                if any(worker.exitcode for worker in workers):
                    break
                listener.poll()
                time.sleep(_POLL_SECONDS)
            listener.poll()
        finally:
            for worker in workers:
                if worker.pid is not None:
                    worker.terminate()
                    worker.join()
    if any(worker.exitcode for worker in workers):
        raise ModelError(
            f"a training process failed (see above); --resume goes on in {job.out}"
        )


def run_worker(
    job_file: Path, members: Sequence[int], number: int, queue: SimpleQueue[Message]
) -> None:
    """Train members in a process of their own; its parent shows how far it is."""
    exit_with_parent()
    torch.set_num_threads(1)  # the processes share the cores
    job = TrainingJob.from_json(job_file.read_text(encoding="utf-8"))
    progress = WorkerProgress(number, queue)
    try:
        fit_members(job, members, progress.say, progress)
    except SafebenchError as error:
        progress.say(f"error: {error.message}")
        sys.exit(1)


def exit_with_parent() -> None:
    """Have this process end when its parent is gone, even by SIGKILL.

    A worker left over would train on, beside the command that is repeated to resume.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # not a worker
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _ignore_interrupts() -> Iterator[None]:
    """Let what starts now ignore Ctrl-C, which a terminal sends to all processes.

    The parent ends its workers; their own tracebacks would only hide what it says.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class WorkerProgress:
    """The progress bar and the lines of one worker: both go to its parent."""

    def __init__(self, worker: int, queue: SimpleQueue[Message]) -> None:
        self.worker, self.queue = worker, queue
        self.done = self.skipped = 0

    def move(self, steps: int = 1) -> None:
        """Count steps that are done."""
        self.done += steps
        self.say("")

    def say(self, line: str) -> None:
        """Send a line, and the steps that are done by now."""
        self.queue.put((self.worker, self.done, self.skipped, line))


class ProgressListener:
    """Adds up the steps of all workers, and says each of their lines once."""

    def __init__(
        self, queue: SimpleQueue[Message], bar: ProgressBar, say: Callable[[str], None]
    ) -> None:
        self.queue, self.bar, self.say = queue, bar, say
        self.counts: dict[int, tuple[int, int]] = {}  # worker -> done, skipped
        self.seen = {""}
        self.started = False

    def poll(self) -> None:
        """Take in what has been sent since the last call."""
        while not self.queue.empty():
            worker, done, skipped, line = self.queue.get()
            self.counts[worker] = (done, skipped)
            if line not in self.seen:
                self.seen.add(line)
                self.say(line)
        total = sum(done for done, _ in self.counts.values())
        skipped = sum(skipped for _, skipped in self.counts.values())
        if not self.started and total > skipped:
            # The time that imports took says nothing about the rate.
            self.started = True
            self.bar.started = time.monotonic()
        if total > self.bar.done:  # without a step there is no time left to estimate
            self.bar.skipped = skipped
            self.bar.move_to(total)
