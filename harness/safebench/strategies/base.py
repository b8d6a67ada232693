"""What a strategy gets beside the evidence, and the judgements that it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.policies import Policy
    from safebench.typing import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a strategy knows beside the evidence; a label is never part of it.

    `task` is the dataset's and `policy` the classifier's own; `options` is the instance
    of the strategy's options dataclass (None without one).
    """

    task: str
    policy: Policy | None = None
    options: Any = None


@dataclass(slots=True, kw_only=True)
class Judgements:
    """Judgements of B samples, in columns; NaN means "none for this sample", never 0.

    `score` (B,): higher is more harmful (None: the strategy has no score at all).
    `lower`, `upper` (B,): bounds on the score. `labels`: L category codes;
    `categories`, `category_lower`, `category_upper` (B, L). `uncertainty` (B,): higher
    is less sure. `decision` (B,) is 1 or 0 where a strategy without a score decides by
    another rule than a threshold. `errors` (B): why a sample has no judgement, or
    None. `probability` False says that this batch's score only ranks, whatever the
    strategy can emit; `categories_decide` False that a threshold means nothing on the
    categories.
    """

    size: int
    score: Floats | None = None
    lower: Floats | None = None
    upper: Floats | None = None
    labels: Sequence[str] = ()
    categories: Floats | None = None
    category_lower: Floats | None = None
    category_upper: Floats | None = None
    uncertainty: Floats | None = None
    uncertainty_lower: Floats | None = None
    uncertainty_upper: Floats | None = None
    decision: Floats | None = None
    errors: list[str | None] = field(default_factory=list)
    probability: bool = True
    categories_decide: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        if not self.errors:
            self.errors = [None] * self.size
        for name in _VECTORS:
            column = getattr(self, name)
            if column is not None and column.shape != (self.size,):
                raise ValueError(f"{name}: shape {column.shape}, not ({self.size},)")
        for name in _MATRICES:
            column = getattr(self, name)
            if column is not None and column.shape != (self.size, len(self.labels)):
                expected = (self.size, len(self.labels))
                raise ValueError(f"{name}: shape {column.shape}, not {expected}")
        if len(self.errors) != self.size:
            raise ValueError(f"errors: {len(self.errors)}, not {self.size}")


# Shapes are checked where judgements are made: a transposed matrix would otherwise
# show up as odd metrics, far from the strategy.
_VECTORS = (
    "score",
    "lower",
    "upper",
    "uncertainty",
    "uncertainty_lower",
    "uncertainty_upper",
    "decision",
)
_MATRICES = ("categories", "category_lower", "category_upper")
