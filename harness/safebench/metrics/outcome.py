"""What a metric is given and gives: judgements beside gold labels, and a value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The test part of one classifier x strategy x dataset, n samples.

    Samples whose gold label is unknown are already left out. `y` (n,) bool;
    `failed` (n,) bool: no judgement; `score` (n,) float, NaN where failed, or None;
    `decision` (n,) bool, a failed sample decided wrongly (a failed positive is a false
    negative, a failed negative a false positive), or None; it says ``score >=
    threshold`` where `threshold` is given (see `apply_threshold`). `lower` and `upper`
    (n,) bound the score, `uncertainty_lower` and `uncertainty_upper` (n,) the
    uncertainty, or None.

    Categories: `labels` (L), `gold` (n, L) bool, `mask` (n, L) bool (truth known,
    sample annotated, label reachable through the policy map, cell judged), `predicted`
    (n, L) bool, every cell of a failed sample wrong (None if a threshold means nothing
    on the scores), `category_score` (n, L) float, NaN where failed, with
    `category_lower` and `category_upper` (n, L) (None if evidence was cut short, or the
    strategy has no bounds). Where the dataset has annotations but `gold` is None,
    `category_note` says why (no category judgements, no policy map); without
    annotations it is empty too.

    All arrays are read-only: metrics see the same ones.

    Pairs: `pairs` (m, 2) rows of the safer and of the less safe answer of each pair
    that is whole, `pair_note` what a reader has to know of them; `severity` (n,) float,
    NaN where nobody noted it. None without any.
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
    uncertainty_lower: Array | None = None
    uncertainty_upper: Array | None = None
    labels: Sequence[str] = ()
    gold: Array | None = None
    mask: Array | None = None
    predicted: Array | None = None
    category_score: Array | None = None
    category_lower: Array | None = None
    category_upper: Array | None = None
    category_note: str = ""
    pairs: Array | None = None
    pair_note: str = ""
    severity: Array | None = None

    def __post_init__(self) -> None:
        # Here, since it needs numpy, which naming a metric should not import.
        from safebench.evidence.arrays import read_only

        for name in (*_COLUMNS, "pairs"):
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, read_only(column))

    @property
    def n(self) -> int:
        """Number of samples with a known label, failed ones included."""
        return len(self.y)

    @property
    def scored(self) -> Array:
        """Which samples have a judgement, (n,) bool."""
        return ~self.failed

    def resample(self, counts: Array) -> Outcome:
        """Return an outcome with sample i `counts[i]` times, (n,) int.

        A pair is there as often as both of its answers are.
        """
        import numpy as np

        rows = np.repeat(np.arange(self.n), counts)
        columns: dict[str, Any] = {
            name: None if column is None else column[rows]
            for name in _COLUMNS
            for column in [getattr(self, name)]
        }
        columns["groups"] = np.array(list(self.groups), dtype=object)[rows].tolist()
        if self.pairs is not None:
            first = np.cumsum(counts) - counts  # where the copies of a sample begin
            times = counts[self.pairs].min(axis=1)
            copy = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
            columns["pairs"] = (
                first[np.repeat(self.pairs, times, axis=0)] + copy[:, None]
            )
        return replace(self, **columns)


# what has a row for each sample
_COLUMNS = (
    *("y", "failed", "score", "decision", "lower", "upper", "uncertainty"),
    *("uncertainty_lower", "uncertainty_upper", "gold", "mask", "predicted"),
    *("category_score", "category_lower", "category_upper", "severity"),
)


def apply_threshold(y: Array, failed: Array, score: Array, threshold: float) -> Array:
    """Return ``score >= threshold``, (n,) bool, with each failed sample wrong."""
    import numpy as np

    return np.where(failed, ~y.astype(bool), score >= threshold)


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric's value; None if undefined, with a note that says why.

    `n_scored` counts what the value rests on, if not all samples.
    `bound_low`, `bound_high` are where the value may lie given bounded scores.
    """

    value: float | None
    note: str = ""
    n_scored: int | None = None
    bound_low: float | None = None
    bound_high: float | None = None
