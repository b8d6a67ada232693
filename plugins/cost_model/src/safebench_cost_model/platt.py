"""From cost to probability: p = s((c - bias) / temperature), fitted by log loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    Array = np.ndarray[Any, np.dtype[Any]]

FEWEST = 10  # labels below which nothing is fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Platt:
    """Constants fitted on `n` labels of the calibration part."""

    bias: float
    temperature: float
    n: int

    def probability(self, costs: Array) -> Array:
        """Return P(unsafe) of costs, any shape."""
        from scipy.special import expit

        found: Array = expit((costs - self.bias) / self.temperature)
        return found

    def as_json(self) -> dict[str, float]:
        """Return what `platt_from` reads back."""
        return asdict(self)


def platt_from(content: Mapping[str, Any] | None) -> Platt | None:
    """Return stored constants; None where a model carries none."""
    return Platt(**content) if content else None


def fit_platt(costs: Array, unsafe: Array) -> Platt | None:
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
    if len(costs) < FEWEST or not 0 < share < 1 or not spread:
        return None
    scaled = (costs - costs.mean()) / spread
    target = smoothed(unsafe)

    def loss(line: Array) -> tuple[float, Array]:
        """Return the mean log loss of slope and offset, and its gradient."""
        slope, offset = line
        logits = slope * scaled + offset
        wrong = expit(logits) - target
        value = float((np.logaddexp(0, logits) - target * logits).mean())
        return value, np.array([(wrong * scaled).mean(), wrong.mean()])

    start = np.array([1.0, np.log(share / (1 - share))])
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000},
    )
    slope, offset = found.x
    if slope <= 0:
        return None
    temperature = spread / slope
    bias = costs.mean() - offset * temperature
    return Platt(bias=float(bias), temperature=float(temperature), n=len(costs))


def smoothed(unsafe: Array) -> Array:
    """Return Platt's targets of shares (n,): (N + 1) / (N + 2) and 1 / (N + 2)."""
    positive = float(unsafe.sum())
    negative = len(unsafe) - positive
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)
    found: Array = unsafe * high + (1 - unsafe) * low
    return found
