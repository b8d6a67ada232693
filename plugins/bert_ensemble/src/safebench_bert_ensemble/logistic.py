"""Logistic regression for baselines: fitted by scikit-learn, kept as two arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import DataError
from safebench.statistics import metric_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    Floats = np.ndarray[Any, np.dtype[np.float64]]

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # inverse regularisation, C
_STEPS = 2000


@dataclass(frozen=True, slots=True)
class Fitted:
    """A linear model: coefficients (D,), intercept, and how it was chosen."""

    coefficients: Floats
    intercept: float
    strength: float
    val_auroc: dict[str, float]

    def margin(self, features: Any) -> Floats:
        """Return the log-odds of harm for features (n, D), dense or sparse."""
        found: Floats = (
            np.asarray(features @ self.coefficients).ravel() + self.intercept
        )
        return found


def fit_logistic(
    train: Any, y: Sequence[int], val: Any, y_val: Sequence[int], seed: int
) -> Fitted:
    """Return the fit with the best validation AUROC, of equals the strictest.

    Raises `DataError` where the training rows have one class only.
    """
    from sklearn.linear_model import LogisticRegression

    if len(set(y)) == 1:
        raise DataError("the training rows are all of one class: nothing to learn")
    best: Fitted | None = None
    tried: dict[str, float] = {}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=_STEPS, random_state=seed)
        model.fit(train, y)
        found = Fitted(model.coef_[0], float(model.intercept_[0]), strength, tried)
        quality = metric_value("auroc", y_val, found.margin(val)) or 0.0
        if best is None or quality > max(tried.values()):
            best = found
        tried[f"{strength:g}"] = quality
    assert best is not None
    return best


def as_logits(margin: Floats) -> Floats:
    """Return log-odds (W,) as logits (W, 1, 2) of one member: safe 0, harmful z."""
    return np.stack([np.zeros_like(margin), margin], axis=-1)[:, None, :]
