"""What plugins share that train with `transformers.Trainer`.

Arguments that users may override, callbacks, an order of rows that a resumed training
repeats, and the checkpoint to go on from.
"""

from __future__ import annotations

import json
import math
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

import torch
import transformers
from torch.utils.data import Sampler
from transformers.integrations import integration_utils
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from safebench.errors import OptionError, SafebenchError, did_you_mean
from safebench.options import convert
from safebench.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


# Fields that a trainer decides itself, and the flag that a user wants instead.
_RESERVED_ARGUMENTS = {
    "output_dir": "--out",
    "seed": "--seed",
    "data_seed": "--seed",
    "resume_from_checkpoint": "--resume",
}
# Numbers that the library computes with before it looks at them: their least values.
_LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 0,
    "learning_rate": 0,
}
# Trackers whose library has another name.
_TRACKER_LIBRARIES = {"azure_ml": "azureml", "comet_ml": "comet"}


class TrainingOverrides:
    """What a user sets of `transformers.TrainingArguments` by ``--set``.

    `values` are the fields, text converted to their type. Raises `OptionError` for a
    field that the trainer decides itself (`reserved` adds to those, with the flag to
    use), that is unknown (with the nearest name), or that cannot hold its value.
    """

    def __init__(
        self, overrides: Mapping[str, Any], reserved: Mapping[str, str] | None = None
    ) -> None:
        known = [f.name for f in fields(transformers.TrainingArguments) if f.init]
        hints = get_type_hints(transformers.TrainingArguments)
        flags = {**_RESERVED_ARGUMENTS, **(reserved or {})}
        self.values: dict[str, Any] = {}
        for name, value in overrides.items():
            if name in flags:
                raise OptionError(f"--set {name}: use {flags[name]} instead")
            if name not in known:
                raise OptionError(
                    f"--set {name}: transformers.TrainingArguments has no such field"
                    f"{did_you_mean(name, known)}"
                )
            # Values of a resumed training, or of a file, have their type already.
            is_text = isinstance(value, str)
            self.values[name] = (
                convert(value, hints[name], f"--set {name}") if is_text else value
            )
            _check_number(name, self.values[name])

    def build(
        self,
        defaults: Mapping[str, Any],
        fixed: Mapping[str, Any] | None = None,
        *,
        one_gpu: bool = False,
    ) -> transformers.TrainingArguments:
        """Build the library's arguments; `OptionError` in one line if it refuses them.

        The user's values replace `defaults`, and `fixed` ones replace the user's. With
        `one_gpu` a process uses one GPU, however many it sees: the library would spread
        the batches of a network over all of them.
        """
        source = "--set" if self.values else "training"
        values = {**defaults, **self.values, **(fixed or {})}
        try:
            arguments = transformers.TrainingArguments(**values)
        except (TypeError, ValueError, ImportError, RuntimeError, OSError) as error:
            raise OptionError(f"{source}: {_one_line(error)}") from error
        _check_trackers(arguments, source)
        if arguments.push_to_hub:
            _check_login(arguments, source)
        if one_gpu:
            arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - no option for it
        return arguments

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn a failure of the library into one line, where there are overrides.

        They can ask for packages that are not installed, and for what does not go
        together; the library notices while it trains. Without any, an error is a fault
        of ours that should be seen whole.
        """
        try:
            yield
        except SafebenchError:
            raise
        except (ImportError, ValueError, TypeError, RuntimeError, OSError) as error:
            if not self.values and not isinstance(error, ImportError):
                raise
            arguments = " ".join(f"{name}={x}" for name, x in self.values.items())
            given = f" with --set {arguments}" if self.values else ""
            raise OptionError(f"training{given} failed: {_one_line(error)}") from error


def _check_number(name: str, value: Any) -> None:
    """Raise `OptionError` for a number that no training can use."""
    least = _LEAST.get(name)
    if least is None or not isinstance(value, (int, float)):
        return
    if not least <= value < math.inf:
        raise OptionError(f"--set {name}: {value:g} is not from {least} up, and finite")


def _check_trackers(arguments: transformers.TrainingArguments, source: str) -> None:
    """Raise `OptionError` for a tracker that is not installed, or that is unknown."""
    names = arguments.report_to
    trackers = [names] if isinstance(names, str) else names or []
    library: Any = integration_utils
    try:
        library.get_reporting_integration_callbacks(trackers)
    except ValueError as error:
        raise OptionError(f"{source} report_to: {_one_line(error)}") from error
    for name in trackers:
        # A tracker itself is not made: some log an error when they cannot be.
        library_name = _TRACKER_LIBRARIES.get(name, name)
        available = getattr(library, f"is_{library_name}_available", None)
        if available and not available():
            raise OptionError(
                f"{source} report_to={name}: {name} is not installed; install it, or "
                "leave report_to out"
            )


def _check_login(arguments: transformers.TrainingArguments, source: str) -> None:
    """Raise `OptionError` where the hub would not take the model, before it is trained.

    One who asks to upload has to be known to the hub.
    """
    import huggingface_hub

    try:
        huggingface_hub.whoami(token=arguments.hub_token)
    # Any: the client's HTTP library differs between versions.
    except Exception as error:
        raise OptionError(
            f"{source} push_to_hub=true: the hub cannot be asked who you are "
            f"({_one_line(error)}); train without, and upload the folder later"
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


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

    Dropout then depends on the training's seed and the step alone, so that a resumed
    training repeats it, whatever else drew random numbers in between. The generator
    of the CPU reads only the lowest 32 bits of a seed.
    """

    def __init__(self, first_seed: int) -> None:
        self.first_seed = first_seed

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seed the step that comes."""
        del args, control
        torch.manual_seed(self.first_seed + state.global_step)


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
