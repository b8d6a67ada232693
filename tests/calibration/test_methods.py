"""The maps against scikit-learn, SciPy's minimisation and hand-computed numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from safebench.calibration.methods import (
    Beta,
    Histogram,
    HistogramOptions,
    Isotonic,
    Platt,
    PlattOptions,
    Temperature,
)
from safebench.calibration.priors import Batch, Contextual
from safebench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.calibration import Calibrator
    from safebench.typing import Array


def sample(seed: int = 0, n: int = 300) -> tuple[Array, Array]:
    """Return overconfident probabilities and labels."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n) * 1.5 - 0.7
    return expit(2.5 * truth + 0.8), rng.random(n) < expit(truth)


def fitted(calibrator: Calibrator, p: Array, y: Array) -> Calibrator:
    """Return the calibrator after its fit."""
    calibrator.fit(p, y)
    return calibrator


def minimised(map_: Callable[[Array], Array], start: list[float], target: Array) -> Any:
    """Return what SciPy's simplex finds: another method than the code's."""

    def loss(line: Array) -> float:
        p = np.clip(map_(line), 1e-15, 1 - 1e-15)
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).mean())

    options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 5000, "maxfev": 5000}
    return minimize(loss, start, method="Nelder-Mead", options=options).x


def test_temperature_is_the_minimum() -> None:
    """The root of the derivative is where the loss is least."""
    p, y = sample()
    (inverse,) = minimised(lambda a: expit(a[0] * logit(p)), [1.0], y)

    found = fitted(Temperature(), p, y)

    assert found.state["temperature"] == pytest.approx(1 / inverse, rel=1e-6)
    assert found.transform(p) == pytest.approx(expit(inverse * logit(p)), rel=1e-6)


def test_platt_without_its_targets_is_logistic_regression() -> None:
    """Scikit-learn's, without a penalty."""
    p, y = sample()
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(p)[:, None], y)

    found = fitted(Platt(PlattOptions(targets="labels")), p, y)

    expected = reference.predict_proba(logit(p)[:, None])[:, 1]
    assert found.transform(p) == pytest.approx(expected, abs=1e-6)


def test_platt_takes_its_targets() -> None:
    """(N+ + 1) / (N+ + 2) and 1 / (N- + 2), as in the paper."""
    p, y = sample(n=60)
    target = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))
    slope, offset = minimised(
        lambda line: expit(line[0] * logit(p) + line[1]), [1.0, 0.0], target
    )

    found = fitted(Platt(PlattOptions(targets="platt")), p, y)

    assert found.state["slope"] == pytest.approx(slope, rel=1e-5)
    assert found.state["offset"] == pytest.approx(offset, rel=1e-5)


def test_platt_of_a_score_is_that_of_scikit_learn() -> None:
    """`CalibratedClassifierCV` does the same with the scores of a classifier."""
    from sklearn.calibration import _SigmoidCalibration

    p, y = sample()
    cost = 10 * logit(p) + 300
    reference = _SigmoidCalibration().fit(cost, y)
    platt = Platt(PlattOptions(targets="platt"))
    platt.probability = False

    found = fitted(platt, cost, y)

    assert found.transform(cost) == pytest.approx(reference.predict(cost), abs=1e-4)


def test_beta_is_the_minimum_with_both_slopes() -> None:
    """Of log p and -log(1 - p); a slope that would be negative is 0."""
    p, y = sample()

    def map_(line: Array) -> Array:
        odds = abs(line[0]) * np.log(p) - abs(line[1]) * np.log1p(-p) + line[2]
        curve: Array = expit(odds)
        return curve

    a, b, c = minimised(map_, [1.0, 1.0, 0.0], y)

    found = fitted(Beta(), p, y)

    assert found.transform(p) == pytest.approx(map_(np.array([a, b, c])), abs=1e-4)
    assert found.state["a"] >= 0 <= found.state["b"]


def test_beta_keeps_a_slope_from_falling() -> None:
    """Where the best slope towards one end is negative, it is 0."""
    rng = np.random.default_rng(1)
    p = rng.uniform(0.01, 0.99, size=400)
    y = rng.random(400) < expit(-3 * np.log1p(-p) - 3 + 1.5 * -np.log(p))

    found = fitted(Beta(), p, y)

    assert found.state["a"] == 0
    assert (np.diff(found.transform(np.sort(p))) >= 0).all()


def test_isotonic_is_that_of_scikit_learn() -> None:
    """Beyond the ends and between the steps, from the stored state alone."""
    p, y = sample()
    reference = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, y)
    x = np.linspace(0, 1, 501)

    found = fitted(Isotonic(), p, y)

    assert found.transform(x) == pytest.approx(reference.predict(x), abs=1e-12)


def test_isotonic_by_hand() -> None:
    """Pool-adjacent-violators of five labels: 0, then (1, 0) pooled, then 1, 1."""
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    y = np.array([False, True, False, True, True])

    found = fitted(Isotonic(), scores, y)

    assert [0, 0.5, 0.5, 1, 1] == found.transform(scores).tolist()
    assert found.transform(np.array([0.35])) == pytest.approx([0.75])


def test_histogram_by_hand() -> None:
    """Three bins of two; equal scores are never divided."""
    scores = np.array([0.1, 0.2, 0.3, 0.3, 0.5, 0.6])
    y = np.array([True, False, False, True, True, True])

    found = fitted(Histogram(HistogramOptions(bins=3)), scores, y)

    assert found.state["edges"] == [0.3, 0.5]
    assert found.state["n"] == [2, 2, 2]
    assert [0.5, 0.5, 0.5, 0.5, 1, 1] == found.transform(scores).tolist()
    assert [0.5, 1] == found.transform(np.array([-5.0, 5.0])).tolist()


@pytest.mark.parametrize("class_", [Contextual, Batch])
def test_priors_by_hand(class_: type[Calibrator]) -> None:
    """P / 0.2 against (1 - p) / 0.8: what is said without content becomes 0.5."""
    found = fitted(class_(), np.array([0.1, 0.3]), np.array([]))

    p = np.array([0.2, 0.5, 0.9])
    expected = (p / 0.2) / (p / 0.2 + (1 - p) / 0.8)
    assert found.transform(p) == pytest.approx(expected)
    assert expected[0] == pytest.approx(0.5)


SEPARATED = (
    np.array([0.1, 0.2, 0.8, 0.9] * 3),
    np.array([False, False, True, True] * 3),
)
QUASI = (np.array([0.1, 0.5, 0.5, 0.9] * 3), np.array([False, False, True, True] * 3))
FALLING = (np.linspace(0.05, 0.95, 40), np.arange(40) % 19 < 12 - np.arange(40) // 4)


@pytest.mark.parametrize(
    ("calibrator", "data", "message"),
    [
        (Temperature(), SEPARATED, "no temperature is best"),
        (Temperature(), FALLING, "no rising temperature"),
        (Platt(PlattOptions(targets="labels")), SEPARATED, "targets=platt"),
        (Platt(PlattOptions(targets="labels")), QUASI, "targets=platt"),
        (Platt(), FALLING, "no rising line"),
        (Beta(), QUASI, "platt stays finite"),
        (Beta(), FALLING, "no rising slopes"),
    ],
)
def test_labels_without_a_best_map(
    calibrator: Calibrator, data: tuple[Array, Array], message: str
) -> None:
    """Classes that do not overlap have no best slope, those in reverse none above 0."""
    with pytest.raises(DataError, match=message):
        calibrator.fit(*data)


def test_platt_stays_finite_where_classes_do_not_overlap() -> None:
    """Its targets keep the labels of four samples from being certain."""
    found = fitted(Platt(), *SEPARATED)

    assert 0 < found.state["slope"] < 10
    assert "Platt's targets" in found.note
    # 6 positives: the target is 7/8; at the best slope errors cancel by log-odds
    missed = found.transform(np.array([0.8, 0.9])) - 7 / 8
    assert missed @ logit([0.8, 0.9]) == pytest.approx(0, abs=1e-6)


def test_infinite_scores_have_no_line_but_an_order() -> None:
    """They are stored as 1e308; what was fitted without any maps them to 0 and 1."""
    scores = np.array([-1e308, 1.0, 2.0, 1e308])
    y = np.array([False, True, False, True])
    platt = Platt()
    platt.probability = False

    with pytest.raises(DataError, match="infinite"):
        platt.fit(scores, y)
    platt.fit(scores[1:3], np.array([False, True]))
    assert [0, 1] == platt.transform(scores[[0, 3]]).tolist()
    assert fitted(Isotonic(), scores, y).transform(scores).tolist() == [0, 0.5, 0.5, 1]


@pytest.mark.parametrize(
    "calibrator", [Temperature(), Platt(), Beta(), Isotonic(), Contextual()]
)
def test_certain_answers_stay_finite(calibrator: Calibrator) -> None:
    """0 and 1 have log-odds as of 1e-12, the end that the log loss has, too."""
    p, y = sample()
    p = np.where(np.arange(len(p)) < 4, [0.0, 1.0, 0.0, 1.0] * (len(p) // 4), p)

    found = fitted(calibrator, p, y).transform(np.array([0.0, 0.5, 1.0]))

    assert np.isfinite(found).all()
    assert found[0] <= found[1] <= found[2]
    assert math.isclose(found[2], found.max())
