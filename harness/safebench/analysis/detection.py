"""Whether the uncertainty knows which decisions are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .intervals import area, area_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, np.dtype[Any]]

BINS = 24
_INFINITE = 1e300  # stored predictions write infinity as 1e308


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the uncertainty of some decisions is spread; quartiles None without any.

    `counts` are those of the bins that right and wrong decisions share.
    """

    n: int
    quartiles: tuple[float, float, float] | None
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """Uncertainty of right against wrong decisions.

    `auroc` is P(a wrong decision is less sure than a right one), None if all are right
    or all wrong, with a 95 % interval by groups where there is one.
    """

    right: Spread
    wrong: Spread
    edges: tuple[float, ...]
    auroc: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


def detection(wrong: Array, doubt: Array, groups: Sequence[str]) -> Detection:
    """Compare the uncertainty (k,) of wrong decisions with that of the others."""
    edges = np.histogram_bin_edges(_inner(doubt), bins=BINS)
    clipped = doubt.clip(edges[0], edges[-1])
    found: dict[str, Any] = {
        "right": _spread(doubt[~wrong], clipped[~wrong], edges),
        "wrong": _spread(doubt[wrong], clipped[wrong], edges),
        "edges": tuple(edges.tolist()),
    }
    if not wrong.any() or wrong.all():
        none = "no decision is wrong" if not wrong.any() else "every decision is wrong"
        return Detection(**found, auroc=None, note=none)
    low, high = area_interval(wrong, doubt, groups) or (None, None)
    return Detection(**found, auroc=area(wrong, doubt), low=low, high=high)


def _inner(doubt: Array) -> Array:
    """Return the values without a far tail that would flatten every histogram."""
    finite = doubt[np.abs(doubt) < _INFINITE]
    if not finite.size:
        return np.zeros(1)
    low, high = np.quantile(finite, (0.005, 0.995))
    inner: Array = finite[(finite >= low) & (finite <= high)]
    return inner


def _spread(values: Array, clipped: Array, edges: Array) -> Spread:
    counts = np.histogram(clipped, bins=edges)[0]
    quartiles = None
    if values.size:
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        quartiles = (low, middle, high)
    return Spread(n=values.size, quartiles=quartiles, counts=tuple(counts.tolist()))
