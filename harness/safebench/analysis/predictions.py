"""Stored predictions as columns: what every analysis starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .sources import Facts

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """One classifier x strategy x dataset, the n samples of a part with a known label.

    `y` (n,) bool; `decision`, `score`, `uncertainty` (n,) float, NaN where there is
    none; `tokens` (n,) int, the template's included. `errors` says why a sample has no
    judgement. `threshold` is that of the decisions, `probability` whether the score
    claims to be one; both from the stored results. `facts` are what the dataset says
    of each sample, None where it could not be read again. `sets` names the dataset of
    each sample: more than one after `pooled`. `group` is empty for predictions that
    were stored without it.
    """

    classifier: str
    model: str
    strategy: str
    dataset: str
    task: str
    ids: tuple[str, ...]
    content: tuple[str, ...]
    sets: tuple[str, ...]
    categories: tuple[frozenset[str] | None, ...]
    errors: tuple[str | None, ...]
    y: Array
    decision: Array
    score: Array
    uncertainty: Array
    tokens: Array
    threshold: float | None = None
    probability: bool = False
    facts: tuple[Facts | None, ...] = ()
    group: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of samples with a known label, failed ones included."""
        return len(self.y)

    @property
    def name(self) -> str:
        """What tables call it: ``classifier/strategy on dataset``."""
        return f"{self.classifier}/{self.strategy} on {self.dataset}"

    @property
    def judged(self) -> Array:
        """Which samples have a decision, (n,) bool."""
        judged: Array = ~np.isnan(self.decision)
        return judged

    @property
    def wrong(self) -> Array:
        """Which samples were judged and decided against their label, (n,) bool."""
        decided: Array = np.nan_to_num(self.decision).astype(bool)
        wrong: Array = self.judged & (decided != self.y)
        return wrong

    @property
    def groups(self) -> list[str]:
        """What belongs together: the dataset's groups, else equal conversations."""
        if self.group:
            return list(self.group)
        facts = self.facts or (None,) * self.n
        pairs = zip(facts, self.content, strict=True)
        return [fact.group if fact else content for fact, content in pairs]


def pooled(parts: Sequence[Predictions]) -> Predictions:
    """Join predictions of one classifier and strategy on several datasets.

    They must share task and threshold, as decisions of one rule do.
    """
    first = parts[0]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("y", "decision", "score", "uncertainty", "tokens")
    }
    joined |= {
        name: tuple(item for part in parts for item in getattr(part, name))
        for name in ("ids", "content", "sets", "categories", "errors")
    }
    stored = all(part.group for part in parts)
    facts = tuple(f for part in parts for f in part.facts or (None,) * part.n)
    return replace(
        first,
        dataset=f"all {len(parts)} sets",
        probability=all(part.probability for part in parts),
        facts=facts,
        group=tuple(g for part in parts for g in part.group) if stored else (),
        **joined,
    )
