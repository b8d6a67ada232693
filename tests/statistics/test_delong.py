"""DeLong's variance and tests, against the numbers of R's pROC and the definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.statistics import delong, delong_unpaired

if TYPE_CHECKING:
    from conftest import Asah


@pytest.mark.parametrize("name", ["wfns", "ndka"])
def test_areas_are_those_of_proc(asah: Asah, name: str) -> None:
    """The areas that pROC publishes, to 1e-10."""
    expected = asah.expected["auc"][name]
    assert expected == pytest.approx(delong(asah.y, asah.scores[name]).value, abs=1e-10)


@pytest.mark.parametrize("pair", ["wfns-s100b", "wfns-ndka", "ndka-s100b"])
def test_paired_test_is_that_of_proc(asah: Asah, pair: str) -> None:
    """The z, p and interval of pROC's paired test, which takes second from first."""
    first, second = pair.split("-")
    expected = asah.expected["delong_paired"][pair]
    found = delong(asah.y, asah.scores[second], asah.scores[first])

    assert expected["z"] == pytest.approx(found.z, abs=1e-10)
    assert expected["p"] == pytest.approx(found.p, abs=1e-10)
    assert expected["ci"] == pytest.approx([found.low, found.high], abs=1e-10)


def test_unpaired_test_is_that_of_proc(asah: Asah) -> None:
    """The t and p of pROC's test of two areas on different samples."""
    expected = asah.expected["delong_unpaired"]["wfns-s100b"]
    y, scores = asah.y, asah.scores
    found = delong_unpaired(y, scores["s100b"], y, scores["wfns"])

    assert expected["d"] == pytest.approx(found.z, abs=1e-10)
    assert expected["p"] == pytest.approx(found.p, abs=1e-10)


def structural_components(y: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """Return area and variance from the full matrix of comparisons."""
    positive, negative = score[y], score[~y]
    won = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    m, k = won.shape
    variance = won.mean(axis=1).var(ddof=1) / m + won.mean(axis=0).var(ddof=1) / k
    return won.mean(), variance


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_midranks_give_the_definition(levels: int) -> None:
    """Area and standard error equal those of the m x k matrix, with many ties too."""
    rng = np.random.default_rng(levels)
    y = rng.random(60) < 0.4
    score = rng.integers(levels, size=60).astype(float)
    area, variance = structural_components(y, score)
    found = delong(y, score)

    assert (area, variance) == pytest.approx((found.value, found.se**2))


def test_perfect_order_has_no_interval() -> None:
    """At an area of 1 the variance is 0: no interval rather than one of no width."""
    found = delong(np.array([True, True, False, False]), np.array([4.0, 3, 2, 1]))

    assert (1.0, None, None) == (found.value, found.low, found.high)


def test_one_class_is_refused() -> None:
    """Without negatives there is no area."""
    with pytest.raises(ValueError, match="both classes"):
        delong(np.array([True, True]), np.array([1.0, 2.0]))


def test_one_sample_of_a_class_tells_no_spread() -> None:
    """One positive among 50 negatives: a value, and neither interval nor p-value."""
    y = np.arange(51) == 0
    score = np.r_[0.9, np.linspace(0, 1, 50)]
    found = delong(y, score)

    assert (None, None, 0.0) == (found.low, found.high, found.se)
    assert delong(y, score, -score).p is None


def test_rounding_is_no_spread() -> None:
    """Each positive passes one of three negatives: thirds that differ by rounding."""
    y = np.array([True, False] * 3)
    before, after = np.arange(6.0), np.array([1.0, 0.0, 3.0, 2.0, 5.0, 4.0])
    found = delong(y, before, after)

    assert 1 / 3 == pytest.approx(found.value)
    assert (None, None, 0.0) == (found.p, found.low, found.se)


def test_a_missing_score_is_refused() -> None:
    """NaN has no rank; it is not ranked in silence."""
    with pytest.raises(ValueError, match="NaN"):
        delong(np.array([True, False, True]), np.array([0.1, np.nan, 0.3]))
