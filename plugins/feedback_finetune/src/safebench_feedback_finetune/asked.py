"""Scores of one guard with any share of its LoRA, each prompt asked once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.training.progress import Bar

from .adapters import scale_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .prompts import Prompt
    from .scorer import VerdictScorer

    Array = np.ndarray[Any, np.dtype[Any]]


class Asked:
    """p(unsafe) by the LoRA's scale; what was asked with it is remembered.

    The base guard's scores of collected prompts are taken from the collection. With
    `lora` False the network has none, and can be asked as the base guard alone; what
    it said then need not be asked `after`.
    """

    def __init__(
        self, scorer: VerdictScorer, *, lora: bool = True, after: Asked | None = None
    ) -> None:
        self.scorer, self.lora = scorer, lora
        self.known: dict[tuple[float, str], float] = after.known if after else {}

    def scores(self, alpha: float, prompts: Sequence[Prompt]) -> Array:
        """Return p(unsafe) of prompts, (n,) float64; a bar shows what is asked."""
        for prompt in prompts:
            if alpha == 0 and prompt.p_in is not None:
                self.known[alpha, prompt.id] = prompt.p_in
        new = list(
            {p.id: p for p in prompts if (alpha, p.id) not in self.known}.values()
        )
        if new:
            who = f"LoRA at {alpha:g}" if alpha else "base guard"
            with Bar(who, len(new), "prompts") as bar:
                found = self.now(alpha, new, bar.move)
            for prompt, score in zip(new, found.tolist(), strict=True):
                self.known[alpha, prompt.id] = score
        return np.asarray([self.known[alpha, p.id] for p in prompts], dtype=float)

    def asked(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the prompts with what the base guard says of them."""
        scores = self.scores(0.0, prompts).tolist()
        return [
            replace(p, p_in=score) for p, score in zip(prompts, scores, strict=True)
        ]

    def now(
        self,
        alpha: float,
        prompts: Sequence[Prompt],
        tick: Callable[[int], None] | None = None,
    ) -> Array:
        """Return what `scores` does, asked anew: weights may have changed."""
        if self.lora:
            scale_adapter(self.scorer.network, alpha)
        from .scorer import p_unsafe

        return p_unsafe(self.scorer.logits([p.turns for p in prompts], tick))
