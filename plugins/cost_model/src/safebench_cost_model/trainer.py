"""A `transformers.Trainer` that learns costs from pairs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from safebench.errors import OptionError, nearest

from .batches import Grouped
from .layout import CHECKPOINTS
from .network import costs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from safebench.training import Training

    from .batches import Collator, EncodedPairs
    from .loss import PairLoss
    from .options import TrainOptions

    Measured = Callable[[Any], dict[str, float]]


class GroupedTrainer(Trainer):
    """Takes examples of like length together, in an order that a resumed run repeats.

    Its data have `lengths` and `groups` (or None). Its loss is a mean, so accumulated
    steps are averaged.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        batch = self.args.train_batch_size * self.args.world_size
        return Grouped(data.lengths, batch, self.args.seed, data.groups)


class CostTrainer(GroupedTrainer):
    """Learns by `PairLoss`; its predictions are the costs of both responses, (N, 2)."""

    def __init__(self, *, loss: PairLoss, **given: Any) -> None:
        super().__init__(**given)
        self.pair_loss = loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002 - the base class passes it
    ) -> Any:
        """Return the loss of a batch of B pairs, and their costs (B, 2) if asked."""
        rows = dict(inputs)
        targets, where = rows.pop("targets"), rows.pop("where")
        costs = costs_of(model, rows)[where]
        loss = self.pair_loss(costs, targets)
        return (loss, {"costs": costs}) if return_outputs else loss


class Told(TrainerCallback):
    """Says each evaluation in a line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        """Say step, loss and both accuracies with their intervals."""
        del args, control
        if not state.is_world_process_zero or "eval_sign_accuracy" not in metrics:
            return
        parts = [f"step {state.global_step}/{state.max_steps}"]
        parts.append(f"loss {metrics['eval_loss']:.4f}")
        for name in ("sign_accuracy", "ranking_accuracy"):
            value = metrics[f"eval_{name}"]
            low, high = (metrics.get(f"eval_{name}_{end}") for end in ("low", "high"))
            span = f" [{low:.3f}, {high:.3f}]" if low is not None else ""
            parts.append(f"{name.replace('_', ' ')} {value:.3f}{span}")
        self.say(", ".join(parts))


def build_trainer(
    network: Any,
    collator: Collator,
    train: EncodedPairs,
    val: EncodedPairs,
    *,
    options: TrainOptions,
    loss: PairLoss,
    arguments: TrainingArguments,
    measure: Measured,
    say: Callable[[str], None],
) -> CostTrainer:
    """Return a trainer with early stopping that goes back to its best evaluation."""
    callbacks: list[TrainerCallback] = [Told(say)]
    if options.patience and arguments.load_best_model_at_end:
        callbacks.append(EarlyStoppingCallback(options.patience))
    return CostTrainer(
        loss=loss,
        model=network,
        args=arguments,
        data_collator=collator,
        train_dataset=train,
        eval_dataset=val,
        compute_metrics=measure,
        callbacks=callbacks,
    )


def last_checkpoint(training: Training, name: str) -> str | None:
    """Return the checkpoint to go on from, None to start afresh; say which it is."""
    folder = training.out / name
    if not training.resume or not folder.is_dir():
        return None
    found: str | None = get_last_checkpoint(str(folder))  # type: ignore[no-untyped-call]
    if found:
        training.say(f"resuming from {found}")
    return found


def arguments_for(
    options: TrainOptions,
    out: Path,
    *,
    pairs: int,
    lr: float,
    seed: int,
    given: Mapping[str, Any],
) -> TrainingArguments:
    """Return the library's arguments; `given` by the user stand over all others.

    An evaluation, with a checkpoint, comes `options.evaluations` times an epoch.
    """
    steps = max(1, -(-pairs // options.batch) // options.evaluations)
    select = options.select
    chosen: dict[str, Any] = {
        "output_dir": str(out / CHECKPOINTS),
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
        "disable_tqdm": not sys.stderr.isatty(),
    }
    return library_arguments(chosen, given)


def library_arguments(
    chosen: Mapping[str, Any], given: Mapping[str, Any]
) -> TrainingArguments:
    """Build `TrainingArguments`; raises OptionError for what they do not take."""
    known = list(TrainingArguments.__dataclass_fields__)
    for key in given:
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
