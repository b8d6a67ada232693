"""Progress of a member's training: lines about epochs, and steps for a shared bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import transformers

if TYPE_CHECKING:
    from collections.abc import Callable


class StepCounter(Protocol):
    """Counts steps: a progress bar, or what stands for one in another process."""

    skipped: int

    def move(self, steps: int = 1) -> None:
        """Count steps that are done."""


class MemberProgressCallback(transformers.TrainerCallback):
    """Says each epoch in a line, and moves the bar of all members with each step."""

    def __init__(
        self, member: str, say: Callable[[str], None], bar: StepCounter | None
    ) -> None:
        self.member, self.say, self.bar = member, say, bar

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the steps that an interrupted training did."""
        del args, control
        if state.global_step:
            if self.bar:
                # They took no time in this process: the rate must not count them.
                self.bar.skipped += state.global_step
            self._advance(state.global_step)
            self.say(f"{self.member}: goes on after step {state.global_step}")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count a step."""
        del args, state, control
        self._advance(1)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say the numbers of an epoch, once they are safe in a checkpoint."""
        del args, control
        evaluations = (e for e in reversed(state.log_history) if "eval_f1" in e)
        if last := next(evaluations, None):
            self.say(
                f"{self.member}, epoch {last['epoch']:g}: validation "
                f"F1 {last['eval_f1']:.3f}, AUROC {last['eval_auroc']:.3f}, "
                f"loss {last['eval_loss']:.3f}"
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the steps that stopping early saved, so that the bar gets full."""
        del args, control
        self._advance(state.max_steps - state.global_step)

    def _advance(self, steps: int) -> None:
        if self.bar:
            self.bar.move(steps)
