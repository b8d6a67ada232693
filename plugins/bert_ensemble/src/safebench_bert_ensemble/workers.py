"""Members trained side by side, in processes that this one starts and ends."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from safebench.errors import ModelError, SafebenchError
from safebench.training.progress import Bar

from .gpus import only, visible_gpus
from .lifeline import end_with_parent
from .members import fit_members, steps
from .voice import Listener, Voice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.queues import SimpleQueue

    from .job import Job

_SECONDS = 0.5


def fit_side_by_side(
    job: Job, members: Sequence[int], say: Callable[[str], None]
) -> None:
    """Train members in processes, each with its own GPU where there are some."""
    gpus = visible_gpus() if job.options.device in ("auto", "cuda") else []
    count = min(job.options.workers or len(gpus) or 2, len(members))
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    say(f"{count} processes for {len(members)} members")
    bar = Bar("training", steps(job) * len(members))
    with TemporaryDirectory(prefix="safebench-") as folder, bar:
        file = Path(folder) / "job"
        file.write_bytes(pickle.dumps(job))
        workers = [
            context.Process(target=work, args=(file, members[at::count], at, queue))
            for at in range(count)
        ]
        listener = Listener(queue, bar, say)
        try:
            for at, worker in enumerate(workers):
                # set before it starts: what it has seen of GPUs and signals, it keeps
                with only(gpus[at % len(gpus)] if gpus else None), _deaf():
                    worker.start()
            while any(worker.is_alive() for worker in workers):
                if any(worker.exitcode for worker in workers):
                    break
                listener.listen()
                time.sleep(_SECONDS)
            listener.listen()
        finally:
            for worker in workers:
                if worker.pid is not None:
                    worker.terminate()
                    worker.join()
    if any(worker.exitcode for worker in workers):
        raise ModelError(
            f"a training process failed (see above); --resume goes on in {job.out}"
        )


def work(
    file: Path, members: Sequence[int], number: int, queue: SimpleQueue[Any]
) -> None:
    """Train members in a process of their own; its parent shows how far it is.

    The job comes in a file: as an argument it would fill the pipe to a process that
    still imports, and hold up the start of the next one.
    """
    end_with_parent()
    torch.set_num_threads(1)
    job: Job = pickle.loads(file.read_bytes())  # noqa: S301 - the parent wrote it
    voice = Voice(number, queue)
    try:
        fit_members(job, members, voice.say, voice)
    except SafebenchError as error:
        voice.say(f"error: {error.message}")
        sys.exit(1)


@contextmanager
def _deaf() -> Iterator[None]:
    """Let what starts now ignore Ctrl-C, which a terminal sends to all processes.

    The parent ends its workers; their own tracebacks would only hide what it says.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
