# ruff: noqa: ARG002 - the library calls with all of these
"""What is seen of a training while it runs: a bar, and a line an evaluation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from safebench.training.progress import Bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Watch(TrainerCallback):
    """Moves a bar with each step, and says loss and accuracies of each evaluation."""

    def __init__(self, title: str, say: Callable[[str], None]) -> None:
        self.title = title
        self.say = say
        self.bar: Bar | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the bar, behind the steps that an earlier run did."""
        self.bar = Bar(self.title, state.max_steps).start(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count a step."""
        if self.bar:
            self.bar.move_to(state.global_step)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any
    ) -> None:
        """Show the loss of training behind the bar."""
        if self.bar and "loss" in logs:
            self.bar.say(f"loss {float(logs['loss']):.3f}")

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        """Say step, loss and both accuracies with their intervals."""
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

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say which evaluation was the best, and whether steps were saved."""
        if state.is_world_process_zero and state.best_global_step:
            early = state.global_step < state.max_steps
            stopped = f"stopped after step {state.global_step}, " if early else ""
            self.say(f"{stopped}best at step {state.best_global_step}")


@contextmanager
def watched(title: str, say: Callable[[str], None]) -> Iterator[Watch]:
    """Give a callback whose bar is taken away however the training ends."""
    watch = Watch(title, say)
    try:
        yield watch
    finally:
        if watch.bar:
            watch.bar.end()
