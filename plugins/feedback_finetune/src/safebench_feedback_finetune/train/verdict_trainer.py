"""A `transformers.Trainer` on the guard's verdict, and its callbacks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import transformers

from safebench.torch_utils import (
    DataParallelTrainer,
    LengthGroupedSampler,
    ProgressBarCallback,
)
from safebench_feedback_finetune.scorer import verdict_logits

from .batches import collate
from .loss import verdict_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from safebench_feedback_finetune.scorer import VerdictScorer

    from .batches import EncodedExamples

SORT_WINDOW = 32  # batches whose rows are sorted by length together


class VerdictTrainer(DataParallelTrainer):
    """Trains with `verdict_loss`; an evaluation is a call of `validate`.

    The scorer builds prompts and reads verdicts, so that the guard is trained on
    exactly what it is asked later. `kl_factor` multiplies the divergence from the base
    guard.
    """

    def __init__(
        self,
        scorer: VerdictScorer,
        examples: EncodedExamples,
        validate: Callable[[], Mapping[str, float]],
        kl_factor: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(train_dataset=examples, data_collator=collate, **kwargs)
        self.scorer, self.examples = scorer, examples
        self.validate, self.kl_factor = validate, kl_factor
        # The loss is a mean over prompts. The library would otherwise divide it by a
        # count of label tokens over all accumulated batches.
        self.model_accepts_loss_kwargs = False

    def batch_loss(
        self, model: Any, inputs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Return the loss of a batch of rows, and its logits (B, 2)."""
        rows = inputs["rows"]
        prompts = [self.examples.prompts[row] for row in rows.tolist()]
        # A prefix that is computed once is kept in a cache, which a checkpointed
        # forward pass cannot fill.
        read = (
            self.scorer.differentiable_logits
            if self.args.gradient_checkpointing
            else partial(verdict_logits, self.scorer)
        )
        # The scorer calls its own network, which `self.model` wraps for PEFT and
        # `model` for a group of processes.
        with self.accelerator.autocast():
            logits = self.forward_through(model, self.model, partial(read, prompts))
        loss = verdict_loss(logits, self.examples.targets(rows), self.kl_factor)
        return loss, {"logits": logits}

    def evaluate(
        self,
        eval_dataset: Any = None,  # noqa: ARG002 - `validate` has its own prompts
        ignore_keys: Any = None,  # noqa: ARG002 - the base class passes it
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return the metrics of `validate`, and log them."""
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in self.validate().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002 - not counted
        """Return 0: the base class would look for token ids in the batch."""
        return 0

    def row_order(self, batch_size: int) -> LengthGroupedSampler:
        """Return prompts of like length next to each other."""
        lengths = [len(prompt) for prompt in self.examples.prompts]
        return LengthGroupedSampler(
            lengths,
            batch_size,
            self.args.seed,
            window_batches=SORT_WINDOW,
            longest_first=False,
        )


class MovedFolderCallback(transformers.TrainerCallback):
    """Finds the best checkpoint again after the training folder was moved.

    The library stores its absolute path, and loads it at the end of a resumed training.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Set the path of the best checkpoint, if there is one."""
        del control
        if state.best_global_step:
            name = f"checkpoint-{state.best_global_step}"
            state.best_model_checkpoint = str(Path(args.output_dir) / name)


class VerdictProgressCallback(ProgressBarCallback):
    """Shows a progress bar, and a line for each validation."""

    def __init__(
        self, say: Callable[[str], None], on_progress: Callable[[int], None]
    ) -> None:
        super().__init__("train")
        self.say, self.on_progress = say, on_progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance the bar, and tell the caller the step."""
        super().on_step_end(args, state, control, **kwargs)
        self.on_progress(state.global_step)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        """Report step and metrics."""
        del args, control
        values = {k.removeprefix("eval_"): v for k, v in (metrics or {}).items()}
        text = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        self.say(f"step {state.global_step}/{state.max_steps}: {text}")
