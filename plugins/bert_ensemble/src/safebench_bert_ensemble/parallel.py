"""Which process trains which member: one after another, workers, or a launched group.

A launcher (``accelerate launch``) starts the whole command several times. Members are
small, so each process trains its own and none is split over several: nothing has to
be exchanged but finished folders.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.training.progress import Bar

from .gpus import VISIBLE, only
from .members import fit_members, steps
from .trained import member_facts
from .workers import fit_side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .job import Job

# What makes `transformers.Trainer` share one model among processes.
_GROUP = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
_SECONDS = 0.5


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
    if kept := [i for i in own if i not in todo]:
        for member in kept:
            member_facts(job.folder(member))  # before hours are spent on the others
        say(f"{len(kept)} of {len(own)} members are finished already")
    if here.leads:
        save_tokenizers(job)
    if not todo:
        return
    with _alone(here):
        if job.options.parallel == "processes" and here.size == 1 and len(todo) > 1:
            fit_side_by_side(job, todo, say)
        else:
            bar = Bar("training", steps(job) * len(todo))
            with bar if here.leads else nullcontext() as shown:
                fit_members(job, todo, say, shown)


def save_tokenizers(job: Job) -> None:
    """Put the tokenizer at the root; with several bases, the first one's."""
    from .loading import load_padding_tokenizer

    if not (job.out / "tokenizer.json").is_file():
        base = job.bases[0]
        load_padding_tokenizer(base.folder, base.label).save_pretrained(job.out)


def wait_for(job: Job) -> None:
    """Wait until other processes of the group have finished their members."""
    folders = [job.folder(i) for i in range(len(job.bases))]
    while not all(folder.is_dir() for folder in folders):
        time.sleep(_SECONDS)  # the launcher ends the group if one of it fails


@contextmanager
def _alone(here: Place) -> Iterator[None]:
    """Hide the group from `transformers.Trainer`, and all GPUs but this process's."""
    hidden = {k: os.environ.pop(k) for k in _GROUP if k in os.environ}
    try:
        with only(_own_gpu(here)):
            yield
    finally:
        os.environ.update(hidden)


def _own_gpu(here: Place) -> str | None:
    """Return which GPU a process of a launched group takes; None: whatever is there."""
    named = os.environ.get(VISIBLE)
    if here.size == 1 or named == "":
        return None
    known = named.split(",") if named else []
    return known[here.local % len(known)] if known else str(here.local)
