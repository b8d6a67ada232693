"""What a metric is given: judgements beside gold labels, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The test part of one classifier x strategy x dataset, n samples.

    Samples whose gold label is unknown are already left out. `y` (n,) bool;
    `failed` (n,) bool: no judgement; `score` (n,) float, NaN where failed, or None;
    `decision` (n,) bool, a failed sample decided wrongly (a failed positive is a false
    negative, a failed negative a false positive), or None; it says ``score >=
    threshold`` where `threshold` is given (`decide` does this). `lower`, `upper` (n,)
    bound the score, or None.

    Categories: `labels` (L), `gold` (n, L) bool, `mask` (n, L) bool (truth known,
    sample annotated, label reachable through the policy map), `predicted` (n, L) bool,
    every cell of a failed sample wrong, `category_score` (n, L) float. Where the
    dataset has annotations but these are None, `category_note` says why (no category
    judgements, no policy map); without annotations it is empty too.

    Pairs: `pairs` (m, 2) rows of the safer and of the less safe answer of each pair
    that is whole; `severity` (n,) float, NaN where nobody noted it. None without any.
    """

    y: Array
    failed: Array
    groups: Sequence[str]
    score: Array | None = None
    probability: bool = False
    decision: Array | None = None
    threshold: float | None = None
    lower: Array | None = None
    upper: Array | None = None
    uncertainty: Array | None = None
    labels: Sequence[str] = ()
    gold: Array | None = None
    mask: Array | None = None
    predicted: Array | None = None
    category_score: Array | None = None
    category_note: str = ""
    pairs: Array | None = None
    severity: Array | None = None

    @property
    def n(self) -> int:
        """Number of samples with a known label, failed ones included."""
        return len(self.y)

    @property
    def scored(self) -> Array:
        """Which samples have a judgement, (n,) bool."""
        return ~self.failed


def decide(y: Array, failed: Array, score: Array, threshold: float) -> Array:
    """Return ``score >= threshold``, (n,) bool, with each failed sample wrong."""
    import numpy as np

    return np.where(failed, ~y.astype(bool), score >= threshold)


@dataclass(frozen=True, slots=True)
class Value:
    """A metric's value; None if undefined, with a note that says why.

    `n_scored` counts what the value rests on, if not all samples.
    `bound_low`, `bound_high` are where the value may lie given bounded scores.
    """

    value: float | None
    note: str = ""
    n_scored: int | None = None
    bound_low: float | None = None
    bound_high: float | None = None
