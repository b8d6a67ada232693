"""Agreement of raters, of whom not all rate everything: Krippendorff's alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safebench.typing import Array

MIN_RATINGS = 2  # of an item: a single one can neither agree nor disagree


def krippendorff_alpha(counts: Array) -> float | None:
    """Return alpha for classes without an order (Krippendorff 2011).

    `counts` (items, classes): how many raters gave an item each class. 1 is agreement
    throughout, 0 what chance would give; None if all ratings are of one class.
    """
    counts = counts[counts.sum(axis=1) >= MIN_RATINGS].astype(float)
    ratings, totals = counts.sum(axis=1), counts.sum(axis=0)
    n = totals.sum()
    # ordered pairs of unlike ratings, of one item and of any two
    within = (ratings**2 - (counts**2).sum(axis=1)) / (ratings - 1)
    expected = n**2 - (totals**2).sum()
    if not expected:
        return None
    return float(1 - (n - 1) * within.sum() / expected)
