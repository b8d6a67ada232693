"""Where a score lies between its ends, and how numbers are written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .answer import Answer

_DIGITS = 4


def number(value: float) -> str:
    """Return four significant digits; very small and large numbers as powers."""
    return f"{value:.{_DIGITS}g}"


def bounded(answer: Answer) -> bool:
    """Tell whether the score is one from 0 to 1 rather than a cost without ends."""
    inside = answer.score is None or 0 <= answer.score <= 1
    return answer.probability or (inside and answer.threshold != 0)


def place(answer: Answer, value: float) -> float:
    """Return where a score lies on a scale from 0 to 1.

    A score without ends is squashed, the threshold (or 0) in the middle: half way to
    either end at a distance of 1.
    """
    if bounded(answer):
        return min(1.0, max(0.0, value))
    distance = value - (answer.threshold or 0.0)
    return 0.5 + math.atan(distance) / math.pi


def describe(answer: Answer) -> str:
    """Say what kind of number the score is and from where on it is a yes."""
    kind = "probability" if answer.probability else "not a probability"
    return f"{kind}{from_where(answer)}"


def from_where(answer: Answer) -> str:
    """Say from where on the score means the positive class, if a threshold decides."""
    if answer.threshold is None:
        return ""
    return f"; {answer.positive} from {number(answer.threshold)}"
