"""A `transformers.Trainer` that learns costs from pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)

from .batches import Grouped
from .loss import PairLoss
from .network import costs_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from transformers import TrainingArguments

    from .options import TrainOptions
    from .parts import Parts
    from .ready import Ready
    from .watching import Watch

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


def build_trainer(
    ready: Ready,
    parts: Parts,
    options: TrainOptions,
    arguments: TrainingArguments,
    *,
    measure: Measured,
    watch: Watch,
) -> CostTrainer:
    """Return a trainer with early stopping that goes back to its best evaluation."""
    callbacks: list[TrainerCallback] = [watch]
    if options.patience and arguments.load_best_model_at_end:
        callbacks.append(EarlyStoppingCallback(options.patience))
    return CostTrainer(
        loss=PairLoss(
            w_rank=options.w_rank,
            w_sign=options.w_sign,
            margin=options.margin,
            reg=options.reg,
            smoothing=options.smoothing,
        ),
        model=ready.network,
        args=arguments,
        data_collator=ready.collator,
        train_dataset=parts.train.encoded,
        eval_dataset=parts.val.encoded,
        compute_metrics=measure,
        callbacks=callbacks,
    )
