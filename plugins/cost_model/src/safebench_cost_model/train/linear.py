"""Linear models of costs, by the loss that networks learn: signs and order at once.

    J(w, b) = sum_i a_i CE(x_i w + b, q_i) + sum_j r_j CE(d_j w - m_j, p_j) + |w|^2 / 2C

x_i are the features of a response, d_j those of a pair's first response minus those of
its second, m_j the margin, q_i and p_j shares of labels, CE the cross entropy of a
logit with a share. Without pairs this is the L2-penalized logistic regression of
scikit-learn, whose C it is. J is convex: every minimizer ends at one optimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array

MAX_ITERATIONS = 1000
TOLERANCE = 1e-9  # of the loss, relative


@dataclass(frozen=True, slots=True, eq=False)
class LinearTerms:
    """N responses with shares and weights, and M pairs of rows among them.

    `features` (N, D) may be sparse.
    """

    features: Any
    unsafe: Array  # (N,)
    sign_weight: Array  # (N,)
    pairs: Array  # (M, 2) row numbers: first, second response
    p_first: Array  # (M,)
    margin: Array  # (M,)
    rank_weight: float

    def fit(
        self, c: float, start: tuple[Array, float] | None = None
    ) -> tuple[Array, float]:
        """Return the weights (D,) and the bias of least loss at penalty 1 / `c`.

        `start`, such as the solution at another penalty, saves steps.
        """
        from scipy.optimize import minimize

        width = self.features.shape[1]
        first = np.append(*start) if start else np.zeros(width + 1)
        differences = self.features[self.pairs[:, 0]] - self.features[self.pairs[:, 1]]
        solution = minimize(
            self._loss,
            first,
            args=(c, differences),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_ITERATIONS, "gtol": 1e-6, "ftol": TOLERANCE},
        ).x
        return solution[:-1], float(solution[-1])

    def fit_path(self, grid: Sequence[float]) -> dict[float, tuple[Array, float]]:
        """Return weights and bias for each C of a grid in ascending order."""
        path: dict[float, tuple[Array, float]] = {}
        solution = None
        for c in grid:
            path[c] = solution = self.fit(c, solution)
        return path

    def _loss(self, x: Array, c: float, differences: Any) -> tuple[float, Array]:
        """Return J over the sum of weights, and its gradient at w and b, (D + 1,)."""
        # Products in the features' own type: a matrix would be converted each time.
        w, b = x[:-1].astype(self.features.dtype), x[-1]
        sign, d_sign = cross_entropy(self.features @ w + b, self.unsafe)
        rank, d_rank = cross_entropy(differences @ w - self.margin, self.p_first)
        d_sign, d_rank = self.sign_weight * d_sign, self.rank_weight * d_rank
        total = self.sign_weight.sum() + self.rank_weight * len(rank)
        value = self.sign_weight @ sign + self.rank_weight * rank.sum()
        value += x[:-1] @ x[:-1] / (2 * c)
        gradient = self.features.T @ d_sign.astype(w.dtype)
        gradient = gradient + differences.T @ d_rank.astype(w.dtype) + x[:-1] / c
        return float(value / total), np.append(gradient, d_sign.sum()) / total


def cross_entropy(logits: Array, shares: Array) -> tuple[Array, Array]:
    """Return the loss of each logit against a share, and its derivative."""
    from scipy.special import expit

    logits = logits.astype(float)
    return np.logaddexp(0, logits) - shares * logits, expit(logits) - shares
