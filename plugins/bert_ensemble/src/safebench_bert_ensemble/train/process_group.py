"""Which process trains which member: this one, its workers, or a launched group.

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

from safebench.training import ProgressBar
from safebench_bert_ensemble.model.checkpoints import (
    TOKENIZER_FILE,
    load_padding_tokenizer,
    read_member_metadata,
)

from .hardware import VISIBLE_DEVICES, restrict_to_gpu
from .members import fit_members, steps_per_member
from .workers import train_in_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .training_job import TrainingJob

# What makes `transformers.Trainer` share one model among processes.
_GROUP_VARIABLES = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR")
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """This process in a launched group; alone it is the only one."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Tell whether this process evaluates and prints for the group."""
        return self.rank == 0


def process_rank() -> ProcessRank:
    """Return this process's rank from what a launcher put into the environment."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ProcessRank()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    return ProcessRank(int(os.environ.get("RANK", local_rank)), size, local_rank)


def train_members(
    job: TrainingJob, process: ProcessRank, say: Callable[[str], None]
) -> None:
    """Train the unfinished members of this process, and keep the finished ones."""
    assigned = range(process.rank, len(job.bases), process.size)
    unfinished = [i for i in assigned if not job.member_folder(i).is_dir()]
    finished = [i for i in assigned if i not in unfinished]
    if finished:
        for member in finished:
            # Damage is reported now, and not after hours spent on the others.
            read_member_metadata(job.member_folder(member))
        say(f"{len(finished)} of {len(assigned)} members are finished already")
    if process.is_main:
        save_tokenizer(job)
    if not unfinished:
        return
    with hide_process_group(process):
        side_by_side = job.options.parallel == "processes" and process.size == 1
        if side_by_side and len(unfinished) > 1:
            train_in_processes(job, unfinished, say)
        else:
            bar = ProgressBar("training", steps_per_member(job) * len(unfinished))
            with bar if process.is_main else nullcontext() as shown:
                fit_members(job, unfinished, say, shown)


def save_tokenizer(job: TrainingJob) -> None:
    """Put the tokenizer at the root; with several bases, the first one's."""
    if not (job.out / TOKENIZER_FILE).is_file():
        base = job.bases[0]
        load_padding_tokenizer(base.folder, base.label).save_pretrained(job.out)


def wait_for_members(job: TrainingJob) -> None:
    """Wait until other processes of the group have finished their members."""
    folders = [job.member_folder(i) for i in range(len(job.bases))]
    while not all(folder.is_dir() for folder in folders):
        time.sleep(_POLL_SECONDS)  # the launcher ends the group if one of it fails


@contextmanager
def hide_process_group(process: ProcessRank) -> Iterator[None]:
    """Hide the group from `transformers.Trainer`, and all GPUs but this process's."""
    hidden = {k: os.environ.pop(k) for k in _GROUP_VARIABLES if k in os.environ}
    try:
        with restrict_to_gpu(assigned_gpu(process)):
            yield
    finally:
        os.environ.update(hidden)


def assigned_gpu(process: ProcessRank) -> str | None:
    """Return the GPU that a process of a group takes; None: whatever is there."""
    variable = os.environ.get(VISIBLE_DEVICES)
    if process.size == 1 or variable == "":
        return None
    visible = variable.split(",") if variable else []
    if not visible:
        return str(process.local_rank)
    return visible[process.local_rank % len(visible)]
