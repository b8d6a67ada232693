"""Platt scaling: from cost to probability, p = s((c - bias) / temperature).

Platt (1999), "Probabilistic outputs for support vector machines".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench.typing import Array

MIN_LABELS = 10  # labels below which nothing is fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class PlattScaling:
    """Constants fitted on `n` labels of the calibration part."""

    bias: float
    temperature: float
    n: int

    def probability(self, costs: Array) -> Array:
        """Return P(unsafe) of costs, any shape."""
        from scipy.special import expit

        p: Array = expit((costs - self.bias) / self.temperature)
        return p

    def as_json(self) -> dict[str, float]:
        """Return what `platt_from_json` reads back."""
        return asdict(self)


def platt_from_json(content: Mapping[str, Any] | None) -> PlattScaling | None:
    """Return stored constants; None where a model carries none."""
    return PlattScaling(**content) if content else None


def fit_platt(costs: Array, unsafe: Array) -> PlattScaling | None:
    """Return bias and temperature of least mean log loss; costs (n,), shares (n,).

    `unsafe` may be soft. Targets are Platt's (1999): of N labels of a class, as if one
    more of each class had been seen, so that classes without overlap leave it finite.
    None where nothing can be fitted: too few labels, one class, one cost, or costs
    that rise as harm falls (a temperature below 0).
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    share = float(unsafe.mean()) if len(unsafe) else 0.0
    spread = float(costs.std()) if len(costs) else 0.0
    if len(costs) < MIN_LABELS or not 0 < share < 1 or not spread:
        return None
    # Standardized, so that the tolerances below do not depend on the scale of costs.
    scaled = (costs - costs.mean()) / spread
    target = platt_targets(unsafe)

    def loss(line: Array) -> tuple[float, Array]:
        """Return the mean log loss of slope and offset, and its gradient."""
        slope, offset = line
        logits = slope * scaled + offset
        residual = expit(logits) - target
        value = float((np.logaddexp(0, logits) - target * logits).mean())
        return value, np.array([(residual * scaled).mean(), residual.mean()])

    start = np.array([1.0, np.log(share / (1 - share))])
    fitted = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    slope, offset = fitted.x
    if slope <= 0:
        return None
    temperature = spread / slope
    bias = costs.mean() - offset * temperature
    return PlattScaling(bias=float(bias), temperature=float(temperature), n=len(costs))


def platt_targets(unsafe: Array) -> Array:
    """Return Platt's targets of shares (n,): (N + 1) / (N + 2) and 1 / (N + 2)."""
    positive = float(unsafe.sum())
    negative = len(unsafe) - positive
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)
    targets: Array = unsafe * high + (1 - unsafe) * low
    return targets
