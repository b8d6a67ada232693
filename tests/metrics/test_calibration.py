"""Errors of calibration, against bins filled by hand, loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from safebench.metrics import Outcome
from safebench.metrics.calibration import (
    ece,
    ece_if_calibrated,
    ece_mass,
    mce,
    rmsce,
    rmsce_debiased,
)
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute
from safebench.statistics import sufficient_statistics


def make_outcome(y: object, p: object, **columns: object) -> Outcome:
    """Build an outcome; a NaN probability is a failed sample."""
    scores = np.array(p, dtype=float)
    return Outcome(
        y=np.array(y, dtype=bool),
        failed=np.isnan(scores),
        groups=[str(i) for i in range(len(scores))],
        score=scores,
        probability=True,
        **columns,  # type: ignore[arg-type]
    )


def filled(y: np.ndarray, p: np.ndarray) -> list[tuple[int, float, float]]:
    """Sort samples into 15 bins, one by one: n, mean p, share of positives."""
    bins: dict[int, list[int]] = {}
    for i, value in enumerate(p):
        place = next(b for b in range(15) if value <= (b + 1) / 15)
        bins.setdefault(place, []).append(i)
    return [(len(rows), p[rows].mean(), y[rows].mean()) for rows in bins.values()]


def test_by_hand() -> None:
    """Two bins: .2 .2 with one positive (gap .3), .9 .9 with two (gap .1)."""
    outcome = make_outcome([1, 0, 1, 1], [0.2, 0.2, 0.9, 0.9])

    assert (0.3 + 0.1) / 2 == pytest.approx(ece(outcome).value)
    assert 0.3 == pytest.approx(mce(outcome).value)
    assert ((0.09 + 0.01) / 2) ** 0.5 == pytest.approx(rmsce(outcome).value)
    # chance adds .25 / 1 to the first bin's square, nothing to the second's
    assert 0 == rmsce_debiased(outcome).value


def test_debiased_by_hand() -> None:
    """Ten at .2 with eight positives: .36 less .16 / 9."""
    outcome = make_outcome([1] * 8 + [0] * 2, [0.2] * 10)
    assert (0.36 - 0.16 / 9) ** 0.5 == pytest.approx(rmsce_debiased(outcome).value)


@pytest.mark.parametrize("seed", range(5))
def test_bins_filled_one_by_one(seed: int) -> None:
    """ECE, MCE and RMSCE equal what a loop over samples and bins gives."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(200), 2)
    y = rng.random(200) < p**2
    bins = filled(y, p)
    gaps = [abs(share - mean) for _, mean, share in bins]
    sizes = [size for size, _, _ in bins]
    outcome = make_outcome(y, p)

    assert np.average(gaps, weights=sizes) == pytest.approx(ece(outcome).value)
    assert max(gaps) == pytest.approx(mce(outcome).value)
    squares = np.average(np.square(gaps), weights=sizes)
    assert squares**0.5 == pytest.approx(rmsce(outcome).value)


def test_largest_gap_is_that_of_sklearns_curve() -> None:
    """MCE is the largest distance of scikit-learn's calibration curve, 15 bins."""
    rng = np.random.default_rng(9)
    p = rng.random(500)
    y = rng.random(500) < p**2
    share, mean = calibration_curve(y, p, n_bins=15)

    assert np.abs(share - mean).max() == pytest.approx(mce(make_outcome(y, p)).value)


def test_bins_of_equal_mass() -> None:
    """150 different scores: ten a bin; equal scores never part."""
    rng = np.random.default_rng(2)
    p = rng.permutation(150) / 150
    y = rng.random(150) < 0.5
    order = np.argsort(p).reshape(15, 10)
    expected = np.abs(y[order].mean(axis=1) - p[order].mean(axis=1)).mean()

    assert expected == pytest.approx(ece_mass(make_outcome(y, p)).value)
    tied = make_outcome([1, 0] * 50, [0.3] * 100)
    assert 0.2 == pytest.approx(ece_mass(tied).value)


def test_edges_belong_to_the_lower_bin() -> None:
    """0 and 1 are in the outer bins; 3/15 is in the third, with .19."""
    outcome = make_outcome([0, 1, 0, 1], [0.0, 1.0, 0.2, 0.19])

    assert abs(0.5 - 0.195) * 0.5 == pytest.approx(ece(outcome).value)


@pytest.mark.slow
def test_chance_is_what_simulation_gives() -> None:
    """Mean and 95th percentile of the ECE of labels drawn from the scores."""
    rng = np.random.default_rng(0)
    p = rng.beta(2, 2, size=210)
    drawn = [ece(make_outcome(rng.random(210) < p, p)).value for _ in range(300)]
    usual, high = ece_if_calibrated(
        np.zeros(210), p, sufficient_statistics.equal_width_edges()
    )

    assert np.mean(drawn) == pytest.approx(usual, rel=0.06)
    assert np.quantile(drawn, 0.95) == pytest.approx(high, rel=0.1)


def test_the_note_says_what_chance_alone_gives() -> None:
    """A calibrated model of 210 samples: the note names the level of the noise."""
    rng = np.random.default_rng(1)
    p = rng.beta(2, 2, size=210)
    result = ece(make_outcome(rng.random(210) < p, p))

    assert result.note.startswith("a calibrated model would have 0.0")
    assert result.value is not None
    assert 0.02 < result.value < 0.12


def test_failed_samples_are_left_out() -> None:
    """A NaN counts in no bin; without any score there is no value."""
    result = ece(make_outcome([1, 0, 1], [0.5, 0.5, np.nan]))
    nothing = ece_mass(make_outcome([1], [np.nan]))

    assert (0.0, 2) == (result.value, result.n_scored)
    assert (None, 0) == (nothing.value, nothing.n_scored)


def test_a_score_that_is_no_probability_is_refused() -> None:
    """Calibration is asked of probabilities only: others get a null with a note."""
    outcome = make_outcome([1, 0, 1], [0.1, 0.5, 0.7])
    ranked = Outcome(
        y=outcome.y, failed=outcome.failed, groups="abc", score=outcome.score
    )
    result = {spec.name: value for spec, value in compute(ranked, SPECS)}

    for name in ("ece", "ece_mass", "mce", "rmsce", "rmsce_debiased"):
        assert (None, "the score is no probability") == (
            result[name].value,
            result[name].note,
        )


def test_chance_does_not_depend_on_how_much_is_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sets of labels are drawn a few together where there are many samples."""
    p = np.random.default_rng(5).random(300)
    whole = ece_if_calibrated(p > 0.5, p, sufficient_statistics.equal_width_edges())
    monkeypatch.setattr("safebench.metrics.calibration.MIN_SIMULATIONS", 400)
    monkeypatch.setattr("safebench.metrics.calibration.MAX_SIMULATED_AT_ONCE", 7 * 300)
    assert whole == ece_if_calibrated(
        p > 0.5, p, sufficient_statistics.equal_width_edges()
    )
