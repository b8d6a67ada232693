"""A `transformers.Trainer` that asks the guard as everybody else does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.trainer_callback import PrinterCallback

from safebench.training.progress import Bar

from .batches import LengthOrder, collate
from .forward import verdict_logits
from .objective import verdict_loss

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .batches import Examples
    from .scorer import VerdictScorer


class StepSeeds(transformers.TrainerCallback):
    """Seeds torch before each step by its number, so a resumed one has its dropout."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seed the step that comes."""
        del args, control
        torch.manual_seed((self.seed << 32) + state.global_step)


class BestHere(transformers.TrainerCallback):
    """Looks for the best state beside the others: the folder may have been moved."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Name the best checkpoint anew, if there is one by now."""
        del control
        if state.best_global_step:
            name = f"checkpoint-{state.best_global_step}"
            state.best_model_checkpoint = str(Path(args.output_dir) / name)


class VerdictTrainer(transformers.Trainer):
    """A `Trainer` whose loss is `verdict_loss`, and whose evaluation is ours."""

    def __init__(
        self,
        scorer: VerdictScorer,
        examples: Examples,
        validate: Callable[[], Mapping[str, float]],
        strength: float,
        **given: Any,
    ) -> None:
        super().__init__(train_dataset=examples, data_collator=collate, **given)
        self.scorer, self.examples = scorer, examples
        self.validate, self.strength = validate, strength
        self.model_accepts_loss_kwargs = False  # our loss is a mean
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002 - the base class passes it
    ) -> Any:
        """Return the loss of the batch's rows; the network is the scorer's own."""
        del model
        rows = inputs["rows"]
        prompts = [self.examples.prompts[row] for row in rows.tolist()]
        logits = verdict_logits(self.scorer, prompts)
        targets = self.examples.targets(rows)
        loss = verdict_loss(logits, targets, self.strength)
        return (loss, {"logits": logits}) if return_outputs else loss

    def evaluate(
        self,
        eval_dataset: Any = None,  # noqa: ARG002 - validation knows its prompts
        ignore_keys: Any = None,  # noqa: ARG002
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return the numbers of `validate`, and tell the callbacks."""
        found = {f"{metric_key_prefix}_{k}": v for k, v in self.validate().items()}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, found
        )
        return found

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ARG002 - not counted
        """Return 0: batches hold numbers of rows, and nobody asks."""
        return 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:  # noqa: ARG002
        lengths = [len(prompt) for prompt in self.examples.prompts]
        return LengthOrder(lengths, self.args.train_batch_size, self.args.seed)


class Told(transformers.TrainerCallback):
    """Says each validation in a line, and moves a bar; `end` takes it away."""

    def __init__(self, say: Callable[[str], None], tick: Callable[[int], None]) -> None:
        self.say, self.tick = say, tick
        self.bar: Bar | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show the bar, from the step that a resumed training goes on with."""
        del args, control
        self.bar = Bar("train", state.max_steps).start(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count a step."""
        del args, control
        if self.bar:
            self.bar.move_to(state.global_step)
        self.tick(state.global_step)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        """Say step and numbers."""
        del args, control
        numbers = {k.removeprefix("eval_"): v for k, v in (metrics or {}).items()}
        said = ", ".join(f"{k} {v:.3f}" for k, v in numbers.items())
        self.say(f"step {state.global_step}/{state.max_steps}: {said}")

    def end(self) -> None:
        """Take the bar away, if there is one."""
        if self.bar:
            self.bar.end()
            self.bar = None
