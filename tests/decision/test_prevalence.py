"""Numbers at a prevalence: by hand, at the edges, and how often intervals hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from safebench.decision.prevalence import (
    ALERTS,
    MISSED,
    PRECISION,
    at_prevalence,
    ratio_ends,
    without_correlation,
)
from safebench.statistics.interval import clustered_share


def rates(tp: int, n_pos: int, fp: int, n_neg: int) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and decision with these counts."""
    y = np.array([True] * n_pos + [False] * n_neg)
    flagged = np.zeros(n_pos + n_neg, dtype=bool)
    flagged[:tp] = flagged[n_pos : n_pos + fp] = True
    return y, flagged


def test_one_prompt_in_a_thousand() -> None:
    """Recall 12 of 51, FPR 14 of 350: 40,195 alerts, of which 0.6 % are right."""
    y, flagged = rates(12, 51, 14, 350)

    numbers = at_prevalence(y, flagged, list(map(str, range(401))), 0.001)

    assert math.isclose(numbers[ALERTS].value, 1000 * 12 / 51 + 999_000 * 0.04)
    assert 40_195 == round(numbers[ALERTS].value)
    assert math.isclose(
        numbers[PRECISION].value, 1000 * 12 / 51 / numbers[ALERTS].value
    )
    assert 0.0059 == round(numbers[PRECISION].value, 4)
    assert math.isclose(numbers[MISSED].value, 1000 * 39 / 51)


@pytest.mark.parametrize(
    ("tp", "fp", "value"), [(0, 0, None), (0, 5, 0.0), (5, 0, 1.0), (20, 30, 1 / 11)]
)
def test_edges_have_intervals_that_hold_the_value(
    tp: int, fp: int, value: float | None
) -> None:
    """Nothing flagged has no precision; none right, none wrong have one-sided ends."""
    y, flagged = rates(tp, 20, fp, 30)
    precision = at_prevalence(y, flagged, list(map(str, range(50))), 1 / 11)[PRECISION]

    if value is None:
        assert (None, "nothing was flagged") == (precision.value, precision.method)
        return
    assert math.isclose(precision.value, value)
    assert 0 <= precision.low <= value <= precision.high <= 1
    assert (precision.low == 0) == (tp == 0)
    assert (precision.high == 1) == (fp == 0)


def test_one_class_says_nothing() -> None:
    """Without negatives there is no FPR, and no number at any prevalence."""
    y, flagged = rates(5, 20, 0, 0)

    numbers = at_prevalence(y, flagged, list(map(str, range(20))), 0.01)

    assert {(None, "no negatives")} == {(i.value, i.method) for i in numbers.values()}


def test_the_ratio_is_where_the_difference_ends_at_zero() -> None:
    """MOVER of ``above - ratio * below``, with and without correlation."""
    rng = np.random.default_rng(0)
    index = np.repeat(np.arange(60), 3)
    hits = rng.random(180) < np.repeat(rng.random(60), 3)
    above = clustered_share(index, (hits | (rng.random(180) < 0.3)) * 1.0, 60)
    below = clustered_share(index, (hits & (rng.random(180) < 0.5)) * 1.0, 60)
    for first, second in (
        (above, below),
        (
            without_correlation(above.value, above.low, above.high),
            without_correlation(below.value, below.low, below.high),
        ),
    ):
        norms = np.linalg.norm(first.residuals) * np.linalg.norm(second.residuals)
        r = float(first.residuals @ second.residuals / norms) if norms else 0.0
        low, high = ratio_ends(first, second)
        for ratio, d1, d2 in (
            (low, first.value - first.low, second.high - second.value),
            (high, first.high - first.value, second.value - second.low),
        ):
            spread = math.sqrt(d1**2 + (ratio * d2) ** 2 - 2 * r * ratio * d1 * d2)
            assert math.isclose(abs(first.value - ratio * second.value), spread)


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True], ids=["independent", "grouped"])
def test_intervals_hold_what_they_promise(grouped: bool) -> None:
    """95 % intervals at a prevalence of 1 % hold in 92 of 100 cases or more."""
    rng = np.random.default_rng(5)
    recall, fpr, pi = 0.7, 0.06, 0.01
    truth = {
        ALERTS: 1e6 * (pi * recall + (1 - pi) * fpr),
        PRECISION: pi * recall / (pi * recall + (1 - pi) * fpr),
        MISSED: 1e6 * pi * (1 - recall),
    }
    held = dict.fromkeys(truth, 0)
    runs = 400
    for _ in range(runs):
        # Half of a group's decisions follow one number: its samples go together.
        group = np.repeat(np.arange(80), 4) if grouped else np.arange(320)
        y = rng.random(320) < 0.3
        own, shared = rng.random(320), rng.random(320)[group]
        follows = rng.random(320) < 0.5 if grouped else np.zeros(320, dtype=bool)
        flagged = np.where(follows, shared, own) < np.where(y, recall, fpr)
        numbers = at_prevalence(y, flagged, list(map(str, group)), pi)
        for name, value in truth.items():
            interval = numbers[name]
            assert interval.low is not None
            assert interval.high is not None
            held[name] += interval.low <= value <= interval.high
    assert {name: n for name, n in held.items() if n < 0.92 * runs} == {}
