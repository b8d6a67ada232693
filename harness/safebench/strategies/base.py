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
    of the strategy's options dataclass (None without one). `written` (B,) are the texts
    that the guard wrote about the samples, None where it writes none; empty: unknown.
    """

    task: str
    policy: Policy | None = None
    options: Any = None
    written: Sequence[str | None] = ()


@dataclass(slots=True, kw_only=True)
class Judgements:
    """Judgements of B samples, in columns; NaN means "none for this sample", never 0.

    `score` (B,): higher is more harmful (None: the strategy has no score at all).
    `lower`, `upper` (B,): bounds on the score. `labels`: L category codes;
    `categories`, `category_lower`, `category_upper` (B, L). `uncertainty` (B,): higher
    is less sure. `decision` (B,) is 1 or 0 where a strategy decides by another rule
    than its spec's threshold on the score; `threshold` is then what the score is where
    the rule turns, if it has such a place. A user's threshold stands over both.
    `errors` (B): why a sample has no judgement, or None. `probability` False says that
    this batch's score only ranks, whatever the strategy can emit; `categories_decide`
    False that a threshold means nothing on the categories. `note` is what a reader of
    any metric has to know, `decision_note` of the strategy's own decisions (it goes
    where a user's threshold stands over them), `category_note` of category metrics.
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
    threshold: float | None = None
    note: str = ""
    decision_note: str = ""
    category_note: str = ""

    def __post_init__(self) -> None:
        if not self.errors:
            self.errors = [None] * self.size
        for name in VECTORS:
            _check_column(name, getattr(self, name), (self.size,))
        for name in MATRICES:
            expected = (self.size, len(self.labels))
            _check_column(name, getattr(self, name), expected)
        if len(self.errors) != self.size:
            raise ValueError(f"errors: {len(self.errors)}, not {self.size}")


def _check_column(name: str, column: Any, shape: tuple[int, ...]) -> None:
    if column is None:
        return
    if not hasattr(column, "shape"):
        raise TypeError(f"{name}: a {type(column).__name__}, not a numpy array")
    if column.shape != shape:
        raise ValueError(f"{name}: shape {column.shape}, not {shape}")


# Shapes are checked where judgements are made: a transposed matrix would otherwise
# show up as odd metrics, far from the strategy.
VECTORS = (
    "score",
    "lower",
    "upper",
    "uncertainty",
    "uncertainty_lower",
    "uncertainty_upper",
    "decision",
)
MATRICES = ("categories", "category_lower", "category_upper")
