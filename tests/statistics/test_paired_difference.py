"""Paired differences of metrics, against pROC, t-tests and real guards' answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.metrics.arrays import paired_difference

if TYPE_CHECKING:
    from conftest import Answers, Asah, Grouped


def test_paired_difference_of_real_guards(answers: dict[str, Answers]) -> None:
    """1B is better than 8B on HarmBench prompts; on Aegis no difference is shown."""
    difference = {}
    for name in ("HarmBenchPrompt", "AegisSafetyTest"):
        a, b = answers[f"1B/{name}"], answers[f"8B/{name}"]
        difference[name] = paired_difference("f1", a.y, a.decision, b.decision)

    assert 0.9210 - 0.9631 == pytest.approx(
        difference["HarmBenchPrompt"].value, abs=1e-4
    )
    assert difference["HarmBenchPrompt"].high < 0
    assert difference["HarmBenchPrompt"].p < 0.01
    assert not difference["AegisSafetyTest"].excludes_zero
    assert difference["AegisSafetyTest"].p > 0.2


@pytest.mark.parametrize("pair", ["wfns-ndka", "ndka-s100b"])
def test_paired_difference_of_areas(asah: Asah, pair: str) -> None:
    """DeLong's test of two areas says what pROC's says."""
    first, second = pair.split("-")
    expected = asah.expected["delong_paired"][pair]
    a, b = asah.scores[second], asah.scores[first]
    difference = paired_difference("auroc", asah.y, a, b)

    assert expected["ci"] == pytest.approx([difference.low, difference.high], abs=1e-4)
    assert expected["p"] == pytest.approx(difference.p, rel=1e-3)
    assert (expected["p"] < 0.05) == difference.excludes_zero


@pytest.mark.slow
def test_p_and_interval_never_disagree() -> None:
    """The p-value is below .05 exactly where the 95 % interval leaves zero out."""
    rng = np.random.default_rng(0)
    shown = []
    for seed in range(40):
        y = rng.random(120) < 0.5
        a = rng.normal(size=120) + y
        b = a + rng.normal(size=120) * 0.7 + 0.25 * y
        difference = paired_difference("auroc", y, a, b, n_resamples=400, seed=seed)
        shown.append(difference.excludes_zero)
        assert difference.excludes_zero == (
            difference.p is not None and difference.p < 0.05
        )
    assert 0 < sum(shown) < 40


def test_identical_decisions_do_not_differ(data: Grouped) -> None:
    """Two equal columns differ by 0 in every swap: p is 1, and no interval is known."""
    difference = paired_difference("f1", data.y, data.decision, data.decision)

    assert (0.0, None, None, 1.0) == (
        difference.value,
        difference.low,
        difference.high,
        difference.p,
    )
    assert "no swap changes anything" == difference.method


def test_a_difference_in_every_group_is_tested_by_flipping_signs() -> None:
    """A flags nothing, b all: recall differs by 1 in 8 of 8 groups, p 2 / 2^8."""
    y = np.arange(60) < 16
    groups = np.arange(60) // 2
    nothing, everything = np.zeros(60, bool), np.ones(60, bool)
    difference = paired_difference("recall", y, nothing, everything, groups)

    assert 1.0 == difference.value
    assert 2 / 2**8 == pytest.approx(difference.p)
    assert difference.low is not None
    assert 0 < difference.low < 1


def test_few_groups_are_not_surer_than_their_signs() -> None:
    """Six groups that all differ one way: 2 of 2^6 flips are as large."""
    gains = np.array([1, 2, 4, 1, 3, 2]) / 10
    right = np.arange(60) % 10 < np.repeat(10 * gains, 10)
    y, groups = np.ones(60, bool), np.arange(60) // 10
    difference = paired_difference("accuracy", y, np.zeros(60, bool), right, groups)

    assert 2 / 2**6 == pytest.approx(difference.p)
