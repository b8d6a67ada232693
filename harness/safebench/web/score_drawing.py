"""A score on a scale, as the page draws it: positions in per cent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.score.result import (
    describe_threshold,
    display_position,
    format_number,
    format_score,
    is_bounded,
)

if TYPE_CHECKING:
    from safebench.score import ScoreResult


_MIN_BOUND_WIDTH = 0.5  # per cent: bounds closer than this are not drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreScale:
    """A score on its scale; positions are in per cent of its length.

    `low` and `high` are the bounds, if they are far enough apart to be seen, and `ends`
    the words at the ends of the scale.
    """

    score: float
    threshold: float | None
    low: float | None
    high: float | None
    ends: tuple[str, str]
    caption: str


def score_scale(result: ScoreResult) -> ScoreScale | None:
    """Return where to draw the score of a result; None if it has none."""
    if result.score is None:
        return None
    low, high = (
        None if value is None else to_percent(display_position(result, value))
        for value in (result.lower, result.upper)
    )
    if low is None or high is None or high - low < _MIN_BOUND_WIDTH:
        low = high = None
    has_ends = is_bounded(result)
    return ScoreScale(
        score=to_percent(display_position(result, result.score)),
        threshold=_threshold_position(result),
        low=low,
        high=high,
        ends=("0", "1") if has_ends else ("better", "worse"),
        caption=_caption(result),
    )


def _threshold_position(result: ScoreResult) -> float | None:
    if result.threshold is None:
        return None
    return to_percent(display_position(result, result.threshold))


def to_percent(share: float) -> float:
    """Return a share as per cent, to a hundredth."""
    return round(100 * min(1.0, max(0.0, share)), 2)


def _caption(result: ScoreResult) -> str:
    """Return the drawing in words, for those who do not see it."""
    assert result.score is not None
    text = format_score(result) + describe_threshold(result)
    if result.lower is not None and result.upper is not None:
        text += (
            f", bounds {format_number(result.lower)} to {format_number(result.upper)}"
        )
    return text
