"""Predictions to draw, made of arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.charts.curves import ChartEntry
from safebench.results.predictions import StoredPredictions

if TYPE_CHECKING:
    from collections.abc import Callable


def floats(values: Any, n: int) -> Any:
    """Return values as floats, NaN for None, or all NaN."""
    values = [None] * n if values is None else list(values)
    return np.array([np.nan if v is None else float(v) for v in values])


@pytest.fixture
def entry() -> Callable[..., ChartEntry]:
    """Make predictions of samples with labels `y`; what is not given is unknown."""

    def make(
        y: Any = (True, True, False, False),
        *,
        score: Any = None,
        decision: Any = None,
        uncertainty: Any = None,
        lower: Any = None,
        upper: Any = None,
        classifier: str = "guard",
        strategy: str = "mean",
        failed: tuple[int, ...] = (),
        threshold: float | None = 0.5,
        probability: bool = True,
        rows: Any = None,
    ) -> ChartEntry:
        n = len(y)
        scores = floats(score, n)
        scores[list(failed)] = np.nan
        if decision is None and score is not None and threshold is not None:
            decision = [None if np.isnan(s) else s >= threshold for s in scores]
        return ChartEntry(
            guard=classifier,
            predictions=StoredPredictions(
                classifier=classifier,
                model="hand-written",
                strategy=strategy,
                dataset="mine:all",
                task="prompt_harm",
                ids=tuple(f"p{i}" for i in range(n)),
                content=tuple(f"c{i}" for i in range(n)),
                sample_datasets=("mine:all",) * n,
                categories=(None,) * n,
                errors=tuple("no verdict" if i in failed else None for i in range(n)),
                y=np.array(y, dtype=bool),
                decision=floats(decision, n),
                score=scores,
                uncertainty=floats(uncertainty, n),
                lower=floats(lower, n),
                upper=floats(upper, n),
                tokens=np.zeros(n, dtype=int),
                severity=floats(None, n),
                pair=(None,) * n,
                threshold=threshold,
                probability=probability,
            ),
            rows=rows or {},
        )

    return make
