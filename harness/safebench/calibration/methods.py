"""Maps that are fitted with labels: temperature, Platt, beta, isotonic, histogram.

Those with a formula minimise the mean log loss of the calibration part. Probabilities
are read as log-odds, kept 1e-12 away from 0 and 1 as in the log loss itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from safebench.errors import DataError
from safebench.statistics.sufficient_statistics import PROBABILITY_CLIP

from .base import Calibrator

if TYPE_CHECKING:
    from safebench.typing import Array, Floats

LARGEST = 1e300  # stored scores have 1e308 for infinity, and sums of it overflow


def log_odds(p: Floats) -> Floats:
    """Return log(p / (1 - p)), `p` kept 1e-12 away from 0 and 1."""
    p = np.clip(p, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    odds: Floats = np.log(p) - np.log1p(-p)
    return odds


class Temperature(Calibrator):
    """log-odds / T, with the T of least log loss.

    Guo et al. (2017), "On Calibration of Modern Neural Networks", arXiv 1706.04599.
    The loss is convex in 1/T, so that its derivative has one root.
    """

    def fit(self, scores: Floats, y: Array) -> None:
        """Find the temperature; raises DataError where none is best."""
        from scipy.optimize import brentq
        from scipy.special import expit

        z = log_odds(scores)
        if ((z >= 0) | ~y).all() and ((z <= 0) | y).all():
            raise DataError(
                "0.5 separates the classes without an error: no temperature is best"
            )

        def slope(inverse: float) -> float:
            return float(((expit(inverse * z) - y) * z).mean())

        if slope(0.0) >= 0:
            raise DataError(_falls("temperature"))
        steepest = 1.0
        while slope(steepest) < 0:  # an error costs more in the end: it has a root
            steepest *= 2
        inverse = brentq(slope, 0.0, steepest, xtol=1e-14, rtol=1e-13)
        self.state = {"temperature": 1 / inverse}

    def transform(self, scores: Floats) -> Floats:
        """Return probabilities, whose order is that of the scores."""
        from scipy.special import expit

        p: Floats = expit(log_odds(scores) / self.state["temperature"])
        return p


@dataclass(frozen=True, slots=True, kw_only=True)
class PlattOptions:
    """What Platt scaling is fitted to.

    With `targets` labels it is a logistic regression without a penalty. With platt each
    label counts as if one more of each class had been seen, which keeps the slope
    finite where a score separates the classes; auto does so there alone. `on` score
    takes a probability as it is, without log-odds.
    """

    targets: Literal["auto", "labels", "platt"] = "auto"
    on: Literal["log_odds", "score"] = "log_odds"


class Platt(Calibrator):
    """slope * log-odds + offset, or of the score where that is no probability.

    Platt (1999), "Probabilistic outputs for support vector machines and comparisons to
    regularized likelihood methods", with the targets of its section 2.2.
    """

    options: PlattOptions

    def __init__(self, options: PlattOptions | None = None) -> None:
        super().__init__(options or PlattOptions())

    def fit(self, scores: Floats, y: Array) -> None:
        """Find slope and offset; raises DataError for a map that would fall."""
        x = self._read(scores)
        if abs(x).max() >= LARGEST:
            raise DataError("infinite scores have no line; isotonic takes them")
        target = y.astype(float)
        separated = scores[~y].max() <= scores[y].min()
        if self.options.targets == "labels" and separated:
            raise DataError(_separates("option targets=platt"))
        if self.options.targets == "platt" or separated:
            n_pos, n_neg = int(y.sum()), int((~y).sum())
            target = np.where(y, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))
        if self.options.targets == "auto" and separated:
            self.note = (
                "a threshold separates the classes of the calibration part without an "
                "error: fitted to Platt's targets, which keep the slope finite"
            )
        center, spread = float(x.mean()), float(x.std())
        scaled = (x - center) / spread
        (slope,), offset = _logistic_fit(scaled[:, None], target, None)
        if slope <= 0:
            raise DataError(_falls("line"))
        slope /= spread
        self.state = {"slope": slope, "offset": offset - slope * center}

    def transform(self, scores: Floats) -> Floats:
        """Return probabilities, whose order is that of the scores."""
        from scipy.special import expit

        slope, offset = self.state["slope"], self.state["offset"]
        with np.errstate(over="ignore"):  # what stands for an infinite score: 0 or 1
            p: Floats = expit(slope * self._read(scores) + offset)
        return p

    def _read(self, scores: Floats) -> Floats:
        odds = self.probability and self.options.on == "log_odds"
        return log_odds(scores) if odds else scores


class Beta(Calibrator):
    """a log p - b log(1 - p) + c, with a, b >= 0.

    Kull, Silva Filho and Flach (2017), "Beta calibration: a well-founded and easily
    implemented improvement on logistic calibration for binary classifiers", AISTATS.
    """

    def fit(self, scores: Floats, y: Array) -> None:
        """Find a, b and c; raises DataError where the classes do not overlap."""
        if scores[~y].max() <= scores[y].min():
            raise DataError(_separates("platt"))
        columns = _log_pair(scores)
        (a, b), c = _logistic_fit(columns, y.astype(float), (0.0, None))
        if a <= 0 and b <= 0:
            raise DataError(_falls("slopes"))
        self.state = {"a": a, "b": b, "c": c}

    def transform(self, scores: Floats) -> Floats:
        """Return probabilities, whose order is that of the scores."""
        from scipy.special import expit

        slopes = np.array([self.state["a"], self.state["b"]])
        p: Floats = expit(_log_pair(scores) @ slopes + self.state["c"])
        return p


class Isotonic(Calibrator):
    """The map of least squared error among those that never fall.

    Zadrozny and Elkan (2002), "Transforming classifier scores into accurate multiclass
    probability estimates"; scikit-learn's `IsotonicRegression`, which goes straight
    from one step to the next. Scores beyond the ends of the calibration part get what
    the ends have.
    """

    def fit(self, scores: Floats, y: Array) -> None:
        """Pool scores whose shares of positives are out of order."""
        from sklearn.isotonic import IsotonicRegression

        regression = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        regression.fit(scores, y.astype(float))
        self.state = {
            "scores": regression.X_thresholds_.tolist(),
            "probabilities": regression.y_thresholds_.tolist(),
        }

    def transform(self, scores: Floats) -> Floats:
        """Return probabilities; scores within one step become equal."""
        p: Floats = np.interp(scores, self.state["scores"], self.state["probabilities"])
        return p


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramOptions:
    """How many bins of equally many samples; raises ValueError for fewer than 2."""

    bins: int = 10

    def __post_init__(self) -> None:
        if self.bins < 2:  # noqa: PLR2004 - one bin would tell nothing apart
            raise ValueError(f"bins: at least 2, got {self.bins}")


class Histogram(Calibrator):
    """The share of positives in the bin of a score.

    Zadrozny and Elkan (2001), "Obtaining calibrated probability estimates from decision
    trees and naive Bayesian classifiers". Bins hold equally many samples of the
    calibration part, as far as equal scores allow: they are never divided.
    """

    options: HistogramOptions

    def __init__(self, options: HistogramOptions | None = None) -> None:
        super().__init__(options or HistogramOptions())

    def fit(self, scores: Floats, y: Array) -> None:
        """Cut the scores into bins, and count."""
        ordered = np.sort(scores)
        at = np.arange(1, self.options.bins) * len(ordered) // self.options.bins
        # A bin begins with the first of equal scores; the first bin has no beginning.
        edges = np.unique(ordered[at])
        edges = edges[edges > ordered[0]]
        place = np.searchsorted(edges, scores, side="right")
        count = np.bincount(place, minlength=len(edges) + 1)
        positive = np.bincount(place, weights=y, minlength=len(edges) + 1)
        self.state = {
            "edges": edges.tolist(),
            "probabilities": (positive / count).tolist(),
            "n": count.tolist(),
        }

    def transform(self, scores: Floats) -> Floats:
        """Return the share of the bin, which may fall where scores rise."""
        place = np.searchsorted(self.state["edges"], scores, side="right")
        p: Floats = np.asarray(self.state["probabilities"], dtype=float)[place]
        return p


def _log_pair(scores: Floats) -> Floats:
    """Return log p and -log(1 - p), (n, 2)."""
    p = np.clip(scores, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    return np.stack([np.log(p), -np.log1p(-p)], axis=1)


def _separates(instead: str) -> str:
    """Say why slopes have no best value; also where both classes meet in one score."""
    return (
        "a threshold separates the classes without an error, so that no slope is best; "
        f"{instead} stays finite"
    )


def _falls(what: str) -> str:
    return f"higher scores do not go with more positives: no rising {what} is best"


def _logistic_fit(
    x: Floats, target: Floats, bounds: Any
) -> tuple[tuple[float, ...], float]:
    """Return slopes and offset of least mean log loss; x (n, k), targets in [0, 1].

    `bounds` are those of each slope, None for none.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    k = x.shape[1]

    def loss(line: Floats) -> tuple[float, Floats]:
        odds = x @ line[:k] + line[k]
        residual = expit(odds) - target
        value = float((np.logaddexp(0, odds) - target * odds).mean())
        return value, np.append(residual @ x / len(x), residual.mean())

    share = float(np.clip(target.mean(), PROBABILITY_CLIP, 1 - PROBABILITY_CLIP))
    fitted = minimize(
        loss,
        np.append(np.ones(k), np.log(share / (1 - share))),
        jac=True,
        method="L-BFGS-B",
        bounds=[bounds or (None, None)] * k + [(None, None)],
        options={"ftol": 1e-15, "gtol": 1e-10, "maxiter": 10_000},
    )
    *slopes, offset = map(float, fitted.x)
    return tuple(slopes), offset
