"""Scores of one guard with any share of its LoRA, each prompt asked once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .adapters import scale_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .prompts import Prompt
    from .scorer import VerdictScorer

    Array = np.ndarray[Any, np.dtype[Any]]


class Asked:
    """p(unsafe) by the LoRA's scale; what was asked with it is remembered.

    The base guard's scores of collected prompts are taken from the collection. With
    `lora` False the network has none, and can be asked as the base guard alone.
    """

    def __init__(self, scorer: VerdictScorer, *, lora: bool = True) -> None:
        self.scorer, self.lora = scorer, lora
        self._known: dict[tuple[float, str], float] = {}

    def scores(
        self,
        alpha: float,
        prompts: Sequence[Prompt],
        tick: Callable[[int], None] | None = None,
    ) -> Array:
        """Return p(unsafe) of prompts, (n,) float64."""
        for prompt in prompts:
            if alpha == 0 and prompt.p_in is not None:
                self._known[alpha, prompt.id] = prompt.p_in
        new = list(
            {p.id: p for p in prompts if (alpha, p.id) not in self._known}.values()
        )
        if new:
            found = self.now(alpha, new, tick)
            for prompt, score in zip(new, found.tolist(), strict=True):
                self._known[alpha, prompt.id] = score
        return np.asarray([self._known[alpha, p.id] for p in prompts], dtype=float)

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
