"""Single samples worth reading: the least sure, and the surest mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .doubt import Doubt
    from .predictions import Predictions

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hard:
    """One sample: what is true, what was decided, how sure; text if asked for."""

    id: str
    label: bool
    decision: bool
    score: float | None
    uncertainty: float
    text: str | None = None


def least_sure(
    predictions: Predictions, doubt: Doubt, top: int, *, text: bool
) -> tuple[Hard, ...]:
    """Return the samples with the highest uncertainty, highest first."""
    return _hard(
        predictions, doubt, np.arange(len(doubt.rows)), -doubt.values, top, text
    )


def surest_mistakes(
    predictions: Predictions, doubt: Doubt, top: int, *, text: bool
) -> tuple[Hard, ...]:
    """Return the wrong decisions with the lowest uncertainty, lowest first."""
    wrong = np.flatnonzero(predictions.wrong[doubt.rows])
    return _hard(predictions, doubt, wrong, doubt.values, top, text)


def _hard(
    predictions: Predictions,
    doubt: Doubt,
    among: Array,
    key: Array,
    top: int,
    text: bool,
) -> tuple[Hard, ...]:
    """Return the first `top` of the places `among` by `key`, equals as in the data."""
    chosen = among[np.argsort(key[among], kind="stable")][:top]
    return tuple(_one(predictions, doubt, int(place), text) for place in chosen)


def _one(predictions: Predictions, doubt: Doubt, place: int, text: bool) -> Hard:
    row = int(doubt.rows[place])
    score = float(predictions.score[row])
    fact = predictions.facts[row] if predictions.facts else None
    return Hard(
        id=predictions.ids[row],
        label=bool(predictions.y[row]),
        decision=bool(predictions.decision[row]),
        score=None if np.isnan(score) else score,
        uncertainty=float(doubt.values[place]),
        text=fact.text if text and fact else None,
    )
