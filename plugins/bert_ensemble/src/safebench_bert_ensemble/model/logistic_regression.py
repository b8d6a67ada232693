"""Logistic regression for baselines: fitted by scikit-learn, kept as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from safebench.errors import DataError
from safebench.metrics import metric_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.typing import Array, Floats

REGULARIZATION_GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # inverse: scikit-learn's C
_MAX_ITERATIONS = 2000


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Coefficients (D,) and intercept of log-odds, and how they were chosen.

    `val_auroc` has the validation AUROC of each strength that was tried; it is empty
    for a model that was read back.
    """

    coefficients: Floats
    intercept: float
    inverse_regularization: float
    val_auroc: dict[str, float] = field(default_factory=dict)
    ARRAY_NAMES: ClassVar[tuple[str, ...]] = ("coefficients", "intercept", "strength")

    def decision_function(self, features: Any) -> Floats:
        """Return the log-odds of harm (n,) of features (n, D), dense or sparse."""
        log_odds: Floats = (
            np.asarray(features @ self.coefficients).ravel() + self.intercept
        )
        return log_odds

    def to_arrays(self) -> dict[str, Any]:
        """Return what `from_arrays` reads back, for an ``.npz`` file."""
        return {
            "coefficients": self.coefficients,
            "intercept": self.intercept,
            "strength": self.inverse_regularization,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> LinearModel:
        """Return a stored model; raises KeyError or ValueError for damaged arrays."""
        return cls(
            coefficients=arrays["coefficients"],
            intercept=float(arrays["intercept"]),
            inverse_regularization=float(arrays["strength"]),
        )


def fit_logistic(
    train: Any, y: Sequence[int], val: Any, y_val: Sequence[int], seed: int
) -> LinearModel:
    """Return the fit with the best validation AUROC, of equals the most regularized.

    Raises `DataError` where the training rows have one class only.
    """
    from sklearn.linear_model import LogisticRegression

    if len(set(y)) == 1:
        raise DataError("the training rows are all of one class: nothing to learn")
    best: LinearModel | None = None
    val_auroc: dict[str, float] = {}
    for c in REGULARIZATION_GRID:
        estimator = LogisticRegression(C=c, max_iter=_MAX_ITERATIONS, random_state=seed)
        estimator.fit(train, y)
        model = LinearModel(
            estimator.coef_[0], float(estimator.intercept_[0]), c, val_auroc
        )
        # None where the validation rows are of one class: any strength is as good.
        auroc = metric_value("auroc", y_val, model.decision_function(val)) or 0.0
        if best is None or auroc > max(val_auroc.values()):
            best = model
        val_auroc[f"{c:g}"] = auroc
    assert best is not None
    return best
