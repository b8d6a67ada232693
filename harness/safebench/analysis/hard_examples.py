"""Hard examples: the least certain decisions, and errors made with high confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

    from .uncertainty import Uncertainty


@dataclass(frozen=True, slots=True, kw_only=True)
class HardExample:
    """One sample: its label, decision, score and uncertainty; text if asked for."""

    id: str
    label: bool
    decision: bool
    score: float | None
    uncertainty: float
    text: str | None = None


def least_certain(
    predictions: StoredPredictions, uncertainty: Uncertainty, n: int, *, text: bool
) -> tuple[HardExample, ...]:
    """Return the `n` samples with the highest uncertainty, highest first."""
    everything = np.arange(len(uncertainty.rows))
    return _first_examples(
        predictions, uncertainty, everything, -uncertainty.values, n, text
    )


def high_confidence_errors(
    predictions: StoredPredictions, uncertainty: Uncertainty, n: int, *, text: bool
) -> tuple[HardExample, ...]:
    """Return the `n` wrong decisions with the lowest uncertainty, lowest first."""
    wrong = np.flatnonzero(predictions.wrong[uncertainty.rows])
    return _first_examples(predictions, uncertainty, wrong, uncertainty.values, n, text)


def _first_examples(
    predictions: StoredPredictions,
    uncertainty: Uncertainty,
    candidates: Array,
    sort_key: Array,
    n: int,
    text: bool,
) -> tuple[HardExample, ...]:
    """Return the first `n` candidates by `sort_key`, ties in the order of the data.

    `candidates` are positions in the arrays of `uncertainty`.
    """
    # Stable: scores of few distinct values tie often, and lists of two strategies
    # should then show the same samples.
    chosen = candidates[np.argsort(sort_key[candidates], kind="stable")][:n]
    return tuple(
        _example(predictions, uncertainty, int(position), text) for position in chosen
    )


def _example(
    predictions: StoredPredictions, uncertainty: Uncertainty, position: int, text: bool
) -> HardExample:
    row = int(uncertainty.rows[position])
    score = float(predictions.score[row])
    # looked at for its text alone: of a large set it is read from the source
    metadata = predictions.metadata[row] if text and predictions.metadata else None
    return HardExample(
        id=predictions.ids[row],
        label=bool(predictions.y[row]),
        decision=bool(predictions.decision[row]),
        score=None if np.isnan(score) else score,
        uncertainty=float(uncertainty.values[position]),
        text=metadata.text if metadata else None,
    )
