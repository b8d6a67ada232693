"""`transformers.Trainer` for pairs: its arguments, its callback, its order of rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainingArguments,
)

from safebench.torch_utils import (
    DataParallelTrainer,
    LengthGroupedSampler,
    Placement,
    ProgressBarCallback,
    TrainingOverrides,
    batch_of_process,
    last_checkpoint,
)
from safebench_cost_model.model.network import forward_costs

from .loss import PairLoss
from .precision import half_precision

_RESERVED = {
    "bf16": "--dtype",
    "fp16": "--dtype",
    "metric_for_best_model": "--select",
    "greater_is_better": "--select",
    "label_smoothing_factor": "--smoothing",
}

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

    from safebench_cost_model.options import CostTrainOptions

    from .dataset import PairSplits
    from .prepared_model import PreparedModel

    ComputeMetrics = Callable[[Any], dict[str, float]]


def training_arguments(
    options: CostTrainOptions,
    folder: Path,
    *,
    rows: int,
    lr: float,
    seed: int,
    overrides: Mapping[str, Any],
    stage: Mapping[str, Any] | None = None,
) -> TrainingArguments:
    """Return the library's arguments; checkpoints go to `folder`.

    An evaluation, with a checkpoint, comes `options.evaluations` times in the epoch of
    `rows` rows. The user's `overrides` stand over these defaults, and what a `stage`
    needs stands over both. Raises `OptionError` for what the library does not take.
    """
    steps = max(1, -(-rows // options.batch) // options.evaluations)
    batch = batch_of_process(options.batch, "batch")
    select = options.select
    defaults: dict[str, Any] = {
        "output_dir": str(folder),
        "num_train_epochs": options.epochs,
        "per_device_train_batch_size": batch,
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
        # The patience that is left must survive an interruption.
        "restore_callback_states_from_checkpoint": True,
        "label_names": ["targets"],
        "remove_unused_columns": False,  # rows are objects, and have no columns
        "dataloader_pin_memory": torch.cuda.is_available(),
        "report_to": "none",
        "seed": seed,
        "data_seed": seed,
        "use_cpu": Placement.choose().device.type == "cpu",
        "bf16": half_precision(options) == torch.bfloat16,
        "fp16": half_precision(options) == torch.float16,
        "disable_tqdm": True,  # `CostProgressCallback` draws a bar
    }
    # A batch of pairs cannot be cut in two by its first dimension, which is that of
    # texts: several GPUs are for a process each.
    return training_overrides(overrides).build(defaults, stage, one_gpu=True)


def training_overrides(overrides: Mapping[str, Any]) -> TrainingOverrides:
    """Return the library's fields that a user set, checked and converted."""
    return TrainingOverrides(overrides, _RESERVED)


def resume_checkpoint(
    folder: Path, *, resume: bool, say: Callable[[str], None]
) -> str | None:
    """Return the checkpoint to go on from, None to start afresh; say which it is."""
    checkpoint = last_checkpoint(folder) if resume else None
    if checkpoint is None:
        return None
    say(f"resuming from {checkpoint}")
    return str(checkpoint)


class CostProgressCallback(ProgressBarCallback):
    """Moves a bar with each step, and says loss and accuracies of each evaluation."""

    def __init__(self, title: str, say: Callable[[str], None]) -> None:
        super().__init__(title)
        self.say = say

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any
    ) -> None:
        """Show the training loss behind the bar."""
        del args, state, control
        if self.bar and "loss" in logs:
            self.bar.say(f"loss {float(logs['loss']):.3f}")

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        """Say step, loss and both accuracies with their intervals."""
        del args, control
        # The supervised stage has no accuracies.
        if not state.is_world_process_zero or "eval_sign_accuracy" not in metrics:
            return
        parts = [f"step {state.global_step}/{state.max_steps}"]
        parts.append(f"loss {metrics['eval_loss']:.4f}")
        for name in ("sign_accuracy", "ranking_accuracy"):
            value = metrics[f"eval_{name}"]
            low, high = (metrics.get(f"eval_{name}_{end}") for end in ("low", "high"))
            interval = f" [{low:.3f}, {high:.3f}]" if low is not None else ""
            parts.append(f"{name.replace('_', ' ')} {value:.3f}{interval}")
        self.say(", ".join(parts))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say which evaluation was the best, and whether steps were saved."""
        del args, control
        if state.is_world_process_zero and state.best_global_step:
            early = state.global_step < state.max_steps
            stopped = f"stopped after step {state.global_step}, " if early else ""
            self.say(f"{stopped}best at step {state.best_global_step}")


@contextmanager
def progress_callback(
    title: str, say: Callable[[str], None]
) -> Iterator[CostProgressCallback]:
    """Yield a callback whose bar is taken away however the training ends."""
    callback = CostProgressCallback(title, say)
    try:
        yield callback
    finally:
        callback.close()


class GroupedTrainer(DataParallelTrainer):
    """Takes examples of like length together, in an order that a resumed run repeats.

    Its data have `lengths` and `groups` (or None): rows of a group stay together, so
    that a response that stands in several pairs of its prompt is read once for all.
    """

    def row_order(self, batch_size: int) -> LengthGroupedSampler:
        """Return rows of like length next to each other."""
        data: Any = self.train_dataset
        return LengthGroupedSampler(
            data.lengths, batch_size, self.args.seed, data.groups
        )


class CostTrainer(GroupedTrainer):
    """Learns by `PairLoss`; its predictions are the costs of both responses, (N, 2)."""

    def __init__(self, *, loss: PairLoss, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pair_loss = loss
        # The loss is a mean over pairs, so accumulated steps are averaged, not summed.
        self.model_accepts_loss_kwargs = False

    def batch_loss(
        self, model: Any, inputs: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch of B pairs, and their costs (B, 2)."""
        rows = dict(inputs)
        targets, row_index = rows.pop("targets"), rows.pop("row_index")
        costs = forward_costs(model, rows)[row_index]
        return self.pair_loss(costs, targets), {"costs": costs}


def build_trainer(
    model: PreparedModel,
    splits: PairSplits,
    options: CostTrainOptions,
    arguments: TrainingArguments,
    *,
    compute_metrics: ComputeMetrics,
    progress: CostProgressCallback,
) -> CostTrainer:
    """Return a trainer with early stopping that goes back to its best evaluation."""
    callbacks: list[TrainerCallback] = [progress]
    if options.patience and arguments.load_best_model_at_end:
        callbacks.append(EarlyStoppingCallback(options.patience))
    return CostTrainer(
        loss=PairLoss(
            w_rank=options.w_rank,
            w_sign=options.w_sign,
            w_single=options.w_single,
            margin=options.margin,
            reg=options.reg,
            smoothing=options.smoothing,
        ),
        model=model.network,
        args=arguments,
        data_collator=model.collator,
        train_dataset=splits.train.encoded,
        eval_dataset=splits.val.encoded,
        compute_metrics=compute_metrics,
        callbacks=callbacks,
    )
