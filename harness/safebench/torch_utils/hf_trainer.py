"""What plugins share that train with `transformers.Trainer`.

Callbacks, an order of rows that a resumed training repeats, and the checkpoint to go on
from.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch.utils.data import Sampler
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from safebench.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Odd, and far from multiples of 2 to the power of 32: the seeds of the steps of some
# thousand processes do not meet.
_PROCESS_SEED_STRIDE = 2_654_435_761


def last_checkpoint(folder: Path) -> Path | None:
    """Return the whole checkpoint after most steps; None if there is none.

    The library's own function takes the last one, and then fails on a checkpoint whose
    writing was interrupted.
    """
    steps = {
        step: path
        for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (step := _completed_steps(path)) is not None
    }
    return steps[max(steps)] if steps else None


def _completed_steps(checkpoint: Path) -> int | None:
    """Return how many steps a checkpoint is after; None if it is not whole."""
    # The trainer's state is the file that the library writes last.
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text("utf-8"))
        return int(state["global_step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


class StepSeedCallback(transformers.TrainerCallback):
    """Seeds torch with `first_seed` + n before step n.

    Dropout then depends on the training's seed, the step and the number of the process
    alone, so that a resumed training repeats it, whatever else drew random numbers in
    between. The generator of the CPU reads only the lowest 32 bits of a seed.
    """

    def __init__(self, first_seed: int) -> None:
        self.first_seed = first_seed

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seed the step that comes."""
        del control
        # Processes that share a step would otherwise drop the same units of all rows.
        process = getattr(args, "process_index", 0) * _PROCESS_SEED_STRIDE
        torch.manual_seed(self.first_seed + state.global_step + process)


class ProgressBarCallback(transformers.TrainerCallback):
    """Moves a progress bar with each step; `close` takes it away, however it ends.

    Subclasses add what they print.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: ProgressBar | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the bar behind the steps that an interrupted training did."""
        del args, control
        self.bar = ProgressBar(self.title, state.max_steps).start(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count a step."""
        del args, control
        if self.bar:
            self.bar.move_to(state.global_step)

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self.bar:
            self.bar.end()
            self.bar = None


class LengthGroupedSampler(Sampler[int]):
    """Shuffled rows in which those of like length, and of one group, stand together.

    Rows are shuffled group by group, sorted by length within windows of
    `window_batches` batches, cut into batches, and the batches are shuffled. Without
    `groups` each row is a group of its own.

    The order is a function of seed and epoch alone, and never of a generator that
    other code draws from: a training that goes on after an interruption sees the
    batches that an uninterrupted one would have seen.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        groups: Sequence[str] | None = None,
        *,
        window_batches: int = 50,
        longest_first: bool = True,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.window = batch_size * window_batches  # rows
        self.sign = -1 if longest_first else 1
        self.row_groups: list[list[int]] = [[row] for row in range(len(lengths))]
        if groups is not None:
            rows_by_group: dict[str, list[int]] = {}
            for row, group in enumerate(groups):
                rows_by_group.setdefault(group, []).append(row)
            self.row_groups = list(rows_by_group.values())

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of that epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        # The factor keeps the seeds of neighbouring runs apart for 100,003 epochs.
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = self._sorted_in_windows(generator)
        batches = [
            order[start : start + self.batch_size]
            for start in range(0, len(order), self.batch_size)
        ]
        # A short batch stays last: anywhere else it would shift the batches after it.
        short = (
            [batches.pop()] if batches and len(batches[-1]) < self.batch_size else []
        )
        shuffle: list[int] = torch.randperm(len(batches), generator=generator).tolist()
        for batch in [*(batches[i] for i in shuffle), *short]:
            yield from batch

    def _sorted_in_windows(self, generator: torch.Generator) -> list[int]:
        """Return all rows, their groups shuffled and sorted within each window."""
        shuffle: list[int] = torch.randperm(
            len(self.row_groups), generator=generator
        ).tolist()
        order: list[int] = []
        window: list[list[int]] = []
        for i in shuffle:
            window.append(self.row_groups[i])
            if sum(map(len, window)) >= self.window or i == shuffle[-1]:
                window.sort(key=self._sort_key)
                order += [row for rows in window for row in rows]
                window = []
        return order

    def _sort_key(self, rows: Sequence[int]) -> int:
        return self.sign * max(self.lengths[row] for row in rows)
