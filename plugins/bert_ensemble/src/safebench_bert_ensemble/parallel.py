"""Which process trains which member: one after another, workers, or a launched group.

A launcher (``accelerate launch``) starts the whole command several times. Members are
small, so each process trains its own and none is split over several: nothing has to
be exchanged but finished folders.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import torch

from safebench.errors import ModelError
from safebench.training.progress import Bar

from .lifeline import end_with_parent
from .member import fit_member, padding, tokenise
from .sampling import LengthBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .job import Job
    from .member import Tokens

# What makes `transformers.Trainer` share one model among processes.
_GROUP = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
_SECONDS = 0.5
_GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Place:
    """This process in a launched group; alone it is the only one."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def leads(self) -> bool:
        """Tell whether this process measures and speaks for the group."""
        return self.rank == 0


def place() -> Place:
    """Return this process's place from what a launcher put into the environment."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    return (
        Place(int(os.environ.get("RANK", local)), size, local) if size > 1 else Place()
    )


def run_members(job: Job, here: Place, say: Callable[[str], None]) -> None:
    """Train the unfinished members of this process, and keep the finished ones."""
    own = range(here.rank, len(job.bases), here.size)
    todo = [i for i in own if not job.folder(i).is_dir()]
    if kept := len(own) - len(todo):
        say(f"{kept} of {len(own)} members are finished already")
    if here.leads:
        save_tokenizers(job)
    if not todo:
        return
    with _alone(here):
        if job.options.parallel == "processes" and here.size == 1 and len(todo) > 1:
            _spawn(job, todo, say)
        else:
            train(job, todo, say, shown=here.leads)


def save_tokenizers(job: Job) -> None:
    """Put the tokenizer at the root; with several bases, the first one's."""
    from .loading import load_tokenizer

    if not (job.out / "tokenizer.json").is_file():
        base = job.bases[0]
        load_tokenizer(base.folder, base.label).save_pretrained(job.out)


def train(
    job: Job, members: Sequence[int], say: Callable[[str], None], *, shown: bool
) -> None:
    """Train members one after another; rows are tokenised once a base."""
    known: dict[str, Tokens] = {}
    total = _steps(job) * len(members)
    with Bar("training", total) if shown else nullcontext() as bar:
        for member in members:
            base = job.bases[member]
            if base.label not in known:
                known[base.label] = tokenise(job, base)
                share = padding(job, known[base.label])
                say(
                    f"{base.label}: padding is {share['train']:.1%} of the tokens in "
                    f"training batches, {share['val']:.1%} in validation batches"
                )
            fit_member(job, member, known[base.label], say, bar)


def _steps(job: Job) -> int:
    batches = len(LengthBatches(job.train.labels, job.options.batch_size, 0))
    return round(job.options.epochs * -(-batches // job.options.grad_accumulation))


def _spawn(job: Job, members: Sequence[int], say: Callable[[str], None]) -> None:
    """Train members in processes, each with its own GPU where there are some."""
    gpus = _gpus() if job.options.device in ("auto", "cuda") else []
    count = min(job.options.workers or len(gpus) or 2, len(members))
    context = multiprocessing.get_context("spawn")
    shares = [list(members)[at::count] for at in range(count)]
    say(f"{count} processes for {len(members)} members")
    workers = [context.Process(target=work, args=(job, share)) for share in shares]
    for at, worker in enumerate(workers):
        # set before it starts: a process that has looked for GPUs keeps what it saw
        with _only(gpus[at % len(gpus)] if gpus else None):
            worker.start()
    try:
        with Bar("training", len(members), "members") as bar:
            while any(worker.is_alive() for worker in workers):
                if any(worker.exitcode for worker in workers):
                    break
                bar.move_to(sum(job.folder(i).is_dir() for i in members))
                time.sleep(_SECONDS)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if any(worker.exitcode for worker in workers):
        raise ModelError(
            f"a training process failed (see above); --resume goes on in {job.out}"
        )


def work(job: Job, members: Sequence[int]) -> None:
    """Train members in a process of their own."""
    end_with_parent()
    torch.set_num_threads(1)
    train(job, members, lambda line: click.echo(line, err=True), shown=False)


def wait_for(job: Job) -> None:
    """Wait until other processes of the group have finished their members."""
    folders = [job.folder(i) for i in range(len(job.bases))]
    while not all(folder.is_dir() for folder in folders):
        time.sleep(_SECONDS)  # the launcher ends the group if one of it fails


def _gpus() -> list[str]:
    named = os.environ.get(_GPUS)
    if named:
        return named.split(",")
    return [str(i) for i in range(torch.cuda.device_count())]


@contextmanager
def _alone(here: Place) -> Iterator[None]:
    """Hide the group from `transformers.Trainer`, and all GPUs but this process's."""
    hidden = {k: os.environ.pop(k) for k in _GROUP if k in os.environ}
    try:
        with _only(_own_gpu(here)):
            yield
    finally:
        os.environ.update(hidden)


def _own_gpu(here: Place) -> str | None:
    """Return which GPU a process of a launched group takes; None: whatever is there."""
    named = os.environ.get(_GPUS)
    if here.size == 1 or named == "":
        return None
    known = named.split(",") if named else []
    return known[here.local % len(known)] if known else str(here.local)


@contextmanager
def _only(gpu: str | None) -> Iterator[None]:
    """Show one GPU alone to whatever starts now; None changes nothing."""
    before = os.environ.get(_GPUS)
    if gpu is not None:
        os.environ[_GPUS] = gpu
    try:
        yield
    finally:
        if gpu is not None:
            os.environ.pop(_GPUS)
            os.environ.update({_GPUS: before} if before is not None else {})
