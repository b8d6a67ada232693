"""How unsure a strategy is of each decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]

OWN = "the strategy's own uncertainty"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Uncertainty of the judged samples: `rows` (k,) of n, `values` (k,) finite.

    `source` says where it comes from, `own` whether the strategy itself gave it.
    """

    rows: Array
    values: Array
    source: str
    own: bool


def doubt_of(predictions: Predictions) -> Doubt | None:
    """Return the stored uncertainty, or how close the score is to the threshold.

    None where there is neither, or no decision to be unsure of.
    """
    if not np.isnan(predictions.uncertainty).all():
        return _kept(predictions, predictions.uncertainty, OWN, own=True)
    threshold = predictions.threshold
    if threshold is None or np.isnan(predictions.score).all():
        return None
    close = -np.abs(predictions.score - threshold)
    source = f"closeness of the score to the threshold {threshold:.4g}"
    return _kept(predictions, close, source, own=False)


def _kept(
    predictions: Predictions, values: Array, source: str, *, own: bool
) -> Doubt | None:
    rows = np.flatnonzero(predictions.judged & ~np.isnan(values))
    return Doubt(rows, values[rows], source, own) if rows.size else None
