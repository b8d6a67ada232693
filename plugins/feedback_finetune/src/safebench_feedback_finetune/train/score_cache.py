"""Cache of p(unsafe) by LoRA scale and prompt, so that no prompt is scored twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from safebench.training import ProgressBar
from safebench_feedback_finetune.scorer import p_unsafe

from .adapters import scale_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array
    from safebench_feedback_finetune.collect.prompts import Prompt
    from safebench_feedback_finetune.scorer import VerdictScorer


class ScoreCache:
    """Scores of one guard at any scale of its LoRA.

    The base guard's scores of collected prompts are taken from the collection. With
    `has_lora` False the network has none yet, and only scale 0 can be scored. A second
    cache may `continue_from` the scores of the first once there is a LoRA.
    """

    def __init__(
        self,
        scorer: VerdictScorer,
        *,
        has_lora: bool = True,
        continue_from: ScoreCache | None = None,
    ) -> None:
        self.scorer, self.has_lora = scorer, has_lora
        # Keyed by scale and prompt id. Scale 0 is the base guard with or without a LoRA
        # in the network, which is why scores from before it stay valid.
        self.cached: dict[tuple[float, str], float] = (
            continue_from.cached if continue_from else {}
        )

    def scores(self, alpha: float, prompts: Sequence[Prompt]) -> Array:
        """Return p(unsafe) of prompts, (n,) float64; new ones show a progress bar."""
        for prompt in prompts:
            if alpha == 0 and prompt.p_in is not None:
                self.cached[alpha, prompt.id] = prompt.p_in
        new = list(
            {p.id: p for p in prompts if (alpha, p.id) not in self.cached}.values()
        )
        if new:
            title = f"LoRA at {alpha:g}" if alpha else "base guard"
            with ProgressBar(title, len(new), "prompts") as bar:
                new_scores = self.compute(alpha, new, bar.move)
            for prompt, score in zip(new, new_scores.tolist(), strict=True):
                self.cached[alpha, prompt.id] = score
        return np.asarray([self.cached[alpha, p.id] for p in prompts], dtype=float)

    def with_base_scores(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the prompts with the base guard's scores as their `p_in`."""
        scores = self.scores(0.0, prompts).tolist()
        return [
            replace(p, p_in=score) for p, score in zip(prompts, scores, strict=True)
        ]

    def compute(
        self,
        alpha: float,
        prompts: Sequence[Prompt],
        on_progress: Callable[[int], None] | None = None,
    ) -> Array:
        """Return the scores past the cache, for weights that have changed."""
        if self.has_lora:
            scale_adapter(self.scorer.network, alpha)
        return p_unsafe(self.scorer.logits([p.turns for p in prompts], on_progress))
