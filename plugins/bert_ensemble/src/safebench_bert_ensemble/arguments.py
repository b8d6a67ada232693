"""`transformers.TrainingArguments` from options, seeds and what the user passes on."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

import transformers

from safebench.errors import OptionError, nearest
from safebench.options import convert

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from .options import TrainOptions

# What the training itself must decide, and the flag that a user wants instead.
_OWNED = {
    "output_dir": "--out",
    "seed": "--seed",
    "data_seed": "--seed",
    "resume_from_checkpoint": "--resume",
    "use_cpu": "--device",
    "full_determinism": "--seed",
}


def check_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is passed on, converted; `OptionError` with the nearest name."""
    known = [f.name for f in fields(transformers.TrainingArguments) if f.init]
    hints = get_type_hints(transformers.TrainingArguments)
    checked = {}
    for key, value in given.items():
        if key in _OWNED:
            raise OptionError(f"--set {key}: use {_OWNED[key]} instead")
        if key not in known:
            raise OptionError(
                f"--set {key}: transformers.TrainingArguments has no such field"
                f"{nearest(key, known)}"
            )
        text = isinstance(value, str)
        checked[key] = convert(value, hints[key], f"--set {key}") if text else value
    return checked


def training_arguments(
    options: TrainOptions,
    folder: Path,
    seeds: tuple[int, int],
    device: torch.device,
    precision: str,
    given: Mapping[str, Any],
) -> transformers.TrainingArguments:
    """Return the arguments of one member; `seeds` are for weights and for the order."""
    own: dict[str, Any] = {
        "num_train_epochs": options.epochs,
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.grad_accumulation,
        "learning_rate": options.lr,
        "warmup_steps": options.warmup,
        "weight_decay": options.weight_decay,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "logging_strategy": "epoch",
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "f1",
        "greater_is_better": True,
        "report_to": "none",
        "restore_callback_states_from_checkpoint": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": device.type == "cuda",
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
    }
    try:
        return transformers.TrainingArguments(
            output_dir=str(folder),
            seed=seeds[0],
            data_seed=seeds[1],
            use_cpu=device.type == "cpu",
            **(own | dict(given)),
        )
    except (ValueError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise OptionError(f"--set: {problem}") from error
