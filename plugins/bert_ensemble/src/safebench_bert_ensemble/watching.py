# ruff: noqa: ARG002 - the library calls with all of these
"""What happens during a member's training: seeds of steps, lines, a progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Callable

_PRIME = 1_000_003


class Counter(Protocol):
    """Counts steps: a progress bar, or what stands for one in another process."""

    skipped: int

    def move(self, steps: int = 1) -> None:
        """Count steps that are done."""


class StepSeeds(transformers.TrainerCallback):
    """Seeds torch before each step by the step's number.

    Dropout then depends on seed and step alone, whatever else drew random numbers.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Seed the step that comes."""
        # the generator of the CPU reads 32 bits of a seed: both numbers go into them
        torch.manual_seed((self.seed * _PRIME + state.global_step) % 2**32)


class Watch(transformers.TrainerCallback):
    """Tells of each epoch in a line, and moves a bar, if any, with each step."""

    def __init__(
        self, who: str, say: Callable[[str], None], bar: Counter | None
    ) -> None:
        self.who, self.say, self.bar = who, say, bar

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the steps that an earlier run did."""
        if state.global_step:
            if self.bar:
                self.bar.skipped += state.global_step  # tell nothing about the rate
            self._move(state.global_step)
            self.say(f"{self.who}: goes on after step {state.global_step}")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count a step."""
        self._move(1)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell the numbers of an epoch, once they are safe in a checkpoint."""
        found = next((e for e in reversed(state.log_history) if "eval_f1" in e), None)
        if found:
            self.say(
                f"{self.who}, epoch {found['epoch']:g}: validation "
                f"F1 {found['eval_f1']:.3f}, AUROC {found['eval_auroc']:.3f}, "
                f"loss {found['eval_loss']:.3f}"
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count the steps that stopping early saved."""
        self._move(state.max_steps - state.global_step)

    def _move(self, steps: int) -> None:
        if self.bar:
            self.bar.move(steps)
