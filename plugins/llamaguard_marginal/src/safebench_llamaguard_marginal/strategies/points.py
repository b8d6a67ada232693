"""Where between its bounds a probability is put: what `point` chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from safebench.engine.estimates import label_drawn, level_drawn, place_drawn
from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from safebench.engine.cut import Bounds, Cut
    from safebench.engine.places import Places

    Floats = np.ndarray[Any, np.dtype[np.float64]]

Point = Literal["lower", "mid", "renorm", "mc"]


def level_point(cut: Cut, positive: Sequence[bool], point: Point) -> Floats:
    """Return P(a positive level is read), (B,)."""
    if point == "renorm":
        return cut.level_renormed(positive)
    if point == "mc":
        return level_drawn(cut, positive)
    return _between(cut.level_bounds(positive), point)


def label_point(cut: Cut, point: Point) -> Floats:
    """Return P(label is in the verdict), (B, labels)."""
    if point == "renorm":
        return cut.label_renormed()
    return label_drawn(cut) if point == "mc" else _between(cut.label_bounds, point)


def place_point(places: Places, point: Point) -> Floats:
    """Return P(label number k is l), (B, labels).

    Raises OptionError for draws of another label than the first.
    """
    if point == "renorm":
        return places.renormed()
    if point == "mc" and places.k > 1:
        raise OptionError(
            f"point=mc knows the first label of a draw alone, not k={places.k}\n"
            "  choose k=1, or point=mid"
        )
    return place_drawn(places) if point == "mc" else _between(places.bounds, point)


def _between(bounds: Bounds, point: Point) -> Floats:
    lower, upper = bounds
    middle: Floats = lower if point == "lower" else (lower + upper) / 2
    return middle
