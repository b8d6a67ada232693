"""What plugins share that train with `transformers.Trainer`.

Arguments that users may override, callbacks, and the checkpoint to go on from.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

import torch
import transformers
from transformers.integrations import integration_utils
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from safebench.errors import OptionError, SafebenchError, did_you_mean
from safebench.options import convert
from safebench.progress import ProgressBar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Fields that a trainer decides itself, and the flag that a user wants instead.
RESERVED_ARGUMENTS = {
    "output_dir": "--out",
    "seed": "--seed",
    "data_seed": "--seed",
    "resume_from_checkpoint": "--resume",
}
# Trackers whose library has another name.
_TRACKER_LIBRARIES = {"azure_ml": "azureml", "comet_ml": "comet"}


def check_training_arguments(
    overrides: Mapping[str, Any], reserved: Mapping[str, str] = RESERVED_ARGUMENTS
) -> dict[str, Any]:
    """Return fields of `transformers.TrainingArguments`, text converted to their type.

    Raises `OptionError` for a field that is reserved (`reserved` names the flag to
    use), unknown (with the nearest name), or given a value that it cannot hold.
    """
    known = [f.name for f in fields(transformers.TrainingArguments) if f.init]
    hints = get_type_hints(transformers.TrainingArguments)
    checked = {}
    for name, value in overrides.items():
        if name in reserved:
            raise OptionError(f"--set {name}: use {reserved[name]} instead")
        if name not in known:
            raise OptionError(
                f"--set {name}: transformers.TrainingArguments has no such field"
                f"{did_you_mean(name, known)}"
            )
        is_text = isinstance(value, str)
        checked[name] = (
            convert(value, hints[name], f"--set {name}") if is_text else value
        )
    return checked


def build_training_arguments(
    values: Mapping[str, Any], *, source: str = "--set", one_gpu: bool = False
) -> transformers.TrainingArguments:
    """Build the library's arguments; `OptionError` names `source` if it refuses them.

    With `one_gpu` a process uses one GPU, however many it sees: the library would
    spread the batches of a network over all of them.
    """
    try:
        arguments = transformers.TrainingArguments(**values)
    except (TypeError, ValueError, ImportError, RuntimeError, OSError) as error:
        raise OptionError(f"{source}: {_one_line(error)}") from error
    _check_trackers(arguments, source)
    if arguments.push_to_hub:
        _check_login(arguments, source)
    if one_gpu:
        arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001 - there is no option
    return arguments


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


@contextmanager
def training_errors(overrides: Mapping[str, Any]) -> Iterator[None]:
    """Turn a failure of the library into one line, where arguments were overridden.

    `overrides` are those of ``--set``. They can ask for packages that are not
    installed, and for what does not go together; the library notices while it trains.
    """
    try:
        yield
    except SafebenchError:
        raise
    except (ImportError, ValueError, TypeError, RuntimeError, OSError) as error:
        if not overrides and not isinstance(error, ImportError):
            raise
        arguments = " ".join(f"{name}={value}" for name, value in overrides.items())
        given = f" with --set {arguments}" if overrides else ""
        raise OptionError(f"training{given} failed: {_one_line(error)}") from error


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
    except (OSError, ValueError, KeyError, TypeError):
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
