"""Which labels of a comparison were reviewed, and whether that favours one side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .outcomes import to_outcome

if TYPE_CHECKING:
    from .predictions import StoredPredictions
    from .reviewed_labels import AppliedMarks

ALPHA = 0.05  # of the test whether the errors of one side were reviewed more often


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedLabels:
    """How many labels of both sides were reviewed, and how they came to be.

    `only_a_wrong` and `only_b_wrong` are (reviewed, all) samples that one side alone
    gets wrong by the stored labels: marks on those of one side can only favour it.
    None where one of both decides nothing.
    """

    n: int
    n_right: int
    n_wrong: int
    n_unclear: int
    only_a_wrong: tuple[int, int] | None
    only_b_wrong: tuple[int, int] | None

    @property
    def n_reviewed(self) -> int:
        """The number of labels with a mark that is used."""
        return self.n_right + self.n_wrong + self.n_unclear

    @property
    def favoured(self) -> str | None:
        """The side, ``a`` or ``b``, whose errors were reviewed more often than chance.

        By Fisher's exact test at 5 % of the samples that one side alone gets wrong.
        """
        from scipy.stats import fisher_exact

        if self.only_a_wrong is None or self.only_b_wrong is None:
            return None
        (seen_a, all_a), (seen_b, all_b) = self.only_a_wrong, self.only_b_wrong
        table = [[seen_a, all_a - seen_a], [seen_b, all_b - seen_b]]
        if not all_a or not all_b or fisher_exact(table).pvalue >= ALPHA:
            return None
        return "a" if seen_a / all_a > seen_b / all_b else "b"


def compared_labels(
    a: StoredPredictions, b: StoredPredictions, applied: AppliedMarks
) -> ComparedLabels:
    """Return how the labels of samples that both have were reviewed."""
    first, second = to_outcome(a), to_outcome(b)
    only_a = only_b = None
    if first.decision is not None and second.decision is not None:
        wrong_a, wrong_b = first.decision != a.y, second.decision != b.y
        only_a, only_b = (
            (int((alone & applied.reviewed).sum()), int(alone.sum()))
            for alone in (wrong_a & ~wrong_b, wrong_b & ~wrong_a)
        )
    return ComparedLabels(
        n=a.n,
        n_right=applied.counts.get("right", 0),
        n_wrong=applied.counts.get("wrong", 0),
        n_unclear=applied.counts.get("unclear", 0),
        only_a_wrong=only_a,
        only_b_wrong=only_b,
    )
