"""What the page draws of an answer: places on scales, in per cent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.asking.scale import bounded, from_where, number, place

if TYPE_CHECKING:
    from safebench.asking import Answer

_NARROW = 0.5  # per cent: bounds closer than this are not drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A score on its scale; all places are in per cent of its length.

    `low` and `high` are the bounds, if they are far enough apart to be seen. `ends`
    are what the ends of the scale are called.
    """

    at: float
    threshold: float | None
    low: float | None
    high: float | None
    ends: tuple[str, str]
    caption: str


def scale(answer: Answer) -> Scale | None:
    """Return the picture of the score; None if there is none."""
    if answer.score is None:
        return None
    low, high = (
        None if value is None else per_cent(place(answer, value))
        for value in (answer.lower, answer.upper)
    )
    if low is None or high is None or high - low < _NARROW:
        low = high = None
    whole = bounded(answer)
    return Scale(
        at=per_cent(place(answer, answer.score)),
        threshold=_threshold(answer),
        low=low,
        high=high,
        ends=("0", "1") if whole else ("better", "worse"),
        caption=_caption(answer),
    )


def _threshold(answer: Answer) -> float | None:
    if answer.threshold is None:
        return None
    return per_cent(place(answer, answer.threshold))


def per_cent(share: float) -> float:
    """Return a share as per cent, to a hundredth."""
    return round(100 * min(1.0, max(0.0, share)), 2)


def _caption(answer: Answer) -> str:
    """Say the picture in words, for those who do not see it."""
    assert answer.score is not None
    text = number(answer.score) + from_where(answer)
    if answer.lower is not None and answer.upper is not None:
        text += f", bounds {number(answer.lower)} to {number(answer.upper)}"
    return text
