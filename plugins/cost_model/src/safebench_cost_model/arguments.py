"""`transformers.TrainingArguments`, from options and from what the user passes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainingArguments

from safebench.errors import OptionError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .options import TrainOptions

# What the training itself must know, and the flag that a user wants instead.
OWNED = {
    "output_dir": "--out",
    "seed": "--seed",
    "data_seed": "--seed",
    "resume_from_checkpoint": "--resume",
}


def arguments_for(
    options: TrainOptions,
    folder: Path,
    *,
    pairs: int,
    lr: float,
    seed: int,
    given: Mapping[str, Any],
) -> TrainingArguments:
    """Return the library's arguments; `given` by the user stand over all others.

    Checkpoints go to `folder`.
    An evaluation, with a checkpoint, comes `options.evaluations` times an epoch.
    """
    steps = max(1, -(-pairs // options.batch) // options.evaluations)
    select = options.select
    chosen: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": options.epochs,
        "per_device_train_batch_size": options.batch,
        "per_device_eval_batch_size": 2 * options.batch,
        "learning_rate": lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": options.warmup,
        "weight_decay": options.weight_decay,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "logging_strategy": "steps",
        "eval_steps": steps,
        "save_steps": steps,
        "logging_steps": steps,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": f"eval_{select}",
        "greater_is_better": select != "loss",
        "restore_callback_states_from_checkpoint": True,
        "label_names": ["targets"],
        "remove_unused_columns": False,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "report_to": "none",
        "seed": seed,
        "data_seed": seed,
        "bf16": options.dtype == "bfloat16" or (options.dtype == "auto" and _bf16()),
        "fp16": options.dtype == "float16",
        "disable_tqdm": True,  # there is a bar of our own
    }
    return library_arguments(chosen, given)


def library_arguments(
    chosen: Mapping[str, Any], given: Mapping[str, Any]
) -> TrainingArguments:
    """Build `TrainingArguments`; raises OptionError for what they do not take."""
    known = list(TrainingArguments.__dataclass_fields__)
    for key in given:
        if key in OWNED:
            raise OptionError(f"--set {key}: use {OWNED[key]} instead")
        if key not in known:
            hint = nearest(key, known)
            raise OptionError(f"--set {key}: no field of TrainingArguments{hint}")
    try:
        return TrainingArguments(**{**chosen, **given})
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise OptionError(f"TrainingArguments: {reason}") from error


def _bf16() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()
