"""Marginal probabilities of levels and labels: a point estimate with its bounds.

A tree leaves some mass open, so that every probability has two bounds; how the open
mass is counted decides where between them the estimate lies.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from safebench.errors import OptionError

from .bounds import Bounds, LabelPositions
from .monte_carlo import (
    answer_estimate,
    label_estimate,
    level_estimate,
    position_estimate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.typing import Array

    from .bounds import TreeBounds

    # How open mass counts: not at all, half, all, like what is known, or as it was
    # sampled.
    PointEstimator = Literal["lower", "mid", "upper", "renorm", "mc"]


class Marginal(NamedTuple):
    """Estimates of probabilities and their bounds, arrays of one shape."""

    value: Array
    lower: Array
    upper: Array


class MarginalProbabilities:
    """What B trees say of some levels, and of every label.

    `levels` says of each level of the grammar whether it is one of those that are asked
    for; with `answers`, these labels are asked for instead. `position` (1 the first)
    asks which label stands there in the verdict; None, which labels are in it
    anywhere. `point` is the lower bound, the middle, the upper bound, the closed mass
    renormalised, or the lower bound plus a Monte Carlo estimate of the rest.
    """

    def __init__(
        self,
        bounds: TreeBounds,
        levels: Sequence[bool],
        *,
        answers: Sequence[int] = (),
        position: int | None = None,
        point: PointEstimator = "lower",
    ) -> None:
        if point == "mc" and position not in (None, 1):
            # A draw is stored with its first label alone.
            raise OptionError(
                "point=mc knows the first label of a draw alone, not "
                f"k={position}\n  choose k=1, or point=mid"
            )
        self._bounds = bounds
        self._levels = levels
        self._answers = answers
        self._positions = LabelPositions(bounds, position) if position else None
        self._point = point

    @cached_property
    def level(self) -> Marginal:
        """The probability that one of the levels or answers is read, (B,)."""
        if self._answers:
            return self._estimate(
                self._bounds.answer_bounds(self._answers),
                lambda: self._bounds.answer_renormalized(self._answers),
                lambda: answer_estimate(self._bounds, self._answers),
            )
        return self._estimate(
            self._bounds.level_bounds(self._levels),
            lambda: self._bounds.level_renormalized(self._levels),
            lambda: level_estimate(self._bounds, self._levels),
        )

    @cached_property
    def labels(self) -> Marginal:
        """The probability that each label is read, or is at the position, (B, L)."""
        if (positions := self._positions) is None:
            return self._estimate(
                self._bounds.label_bounds,
                self._bounds.label_renormalized,
                lambda: label_estimate(self._bounds),
            )
        return self._estimate(
            positions.bounds,
            positions.renormalized,
            lambda: position_estimate(positions),
        )

    def _estimate(
        self,
        bounds: Bounds,
        renormalized: Callable[[], Array],
        sampled: Callable[[], Array],
    ) -> Marginal:
        lower, upper = bounds
        # The lower bound counts no open mass at all, so that it never overstates.
        value = lower
        if self._point == "mid":
            value = (lower + upper) / 2
        elif self._point == "upper":
            value = upper
        elif self._point == "renorm":  # as if the open mass ended like the closed mass
            value = renormalized()
        elif self._point == "mc":  # unbiased; the bounds are not used beyond the lower
            value = sampled()
        return Marginal(value, lower, upper)
