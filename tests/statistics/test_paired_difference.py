"""Paired differences of metrics, against pROC, t-tests and real guards' answers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.metrics import paired
from safebench.metrics.arrays import paired_difference
from safebench.statistics import Interval, delong, wilson
from safebench.statistics.interval import difference_ends

if TYPE_CHECKING:
    from conftest import Answers, Asah, Grouped

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_paired_difference_of_real_guards(answers: dict[str, Answers]) -> None:
    """1B is better than 8B on HarmBench prompts; on Aegis no difference is shown."""
    difference = {}
    for name, metric in (("HarmBenchPrompt", "recall"), ("AegisSafetyTest", "f1")):
        a, b = answers[f"1B/{name}"], answers[f"8B/{name}"]
        difference[name] = paired_difference(metric, a.y, a.decision, b.decision)

    # all prompts are harmful: the published F1 is 2 r / (1 + r) of the recall r
    small, large = (f1 / (2 - f1) for f1 in (0.9631, 0.9210))
    assert large - small == pytest.approx(difference["HarmBenchPrompt"].value, abs=3e-4)
    assert difference["HarmBenchPrompt"].high < 0
    assert difference["HarmBenchPrompt"].p < 0.01
    assert not difference["AegisSafetyTest"].excludes_zero
    assert difference["AegisSafetyTest"].p > 0.2


@pytest.mark.parametrize("pair", ["wfns-ndka", "ndka-s100b"])
def test_paired_difference_of_areas(asah: Asah, pair: str) -> None:
    """DeLong's test of two areas says what pROC's says.

    Of 41 positives the interval is that of both areas, where that is wider.
    """
    first, second = pair.split("-")
    expected = asah.expected["delong_paired"][pair]
    a, b = asah.scores[second], asah.scores[first]
    difference = paired_difference("auroc", asah.y, a, b)

    low, high = expected["ci"]
    assert difference.low <= low + 1e-4
    assert difference.high >= high - 1e-4
    assert difference.high - difference.low < 1.2 * (high - low)
    assert expected["p"] == pytest.approx(difference.p, rel=1e-3)
    assert (expected["p"] < 0.05) == difference.excludes_zero


def test_many_of_each_class_have_the_interval_of_a_standard_error() -> None:
    """From 100 of each class on it is the difference and 1.96 of DeLong's errors."""
    rng = np.random.default_rng(1)
    y = np.arange(400) < 150
    a, b = y + rng.normal(size=(2, 400))
    difference = paired_difference("auroc", y, a, b)

    half = 1.959964 * delong(y, a, b).se
    ends = [difference.value - half, difference.value + half]
    assert ends == pytest.approx([difference.low, difference.high], abs=1e-6)


def test_ends_of_a_difference_are_those_of_newcombe() -> None:
    """56 of 70 and 48 of 80: .0524 to .3339, Newcombe 1998, method 10."""
    ends = difference_ends(wilson(48, 80), wilson(56, 70), 0.0)

    assert [0.0524, 0.3339] == pytest.approx(ends, abs=5e-5)


def test_ends_of_sides_that_vary_together_come_closer() -> None:
    """Errors .1 and .2 are added as those of normal numbers, by their correlation."""
    a, b = (
        Interval(value, value - error, value + error, "", 9)
        for value, error in ((0.4, 0.1), (0.7, 0.2))
    )
    for correlation in (-1.0, 0.0, 0.5, 1.0):
        half = np.sqrt(0.01 + 0.04 - 2 * correlation * 0.1 * 0.2)
        ends = difference_ends(a, b, correlation)
        assert [0.3 - half, 0.3 + half] == pytest.approx(ends)
    unknown = Interval(0.4, None, None, "undefined", 9)
    assert difference_ends(unknown, b, 0.0) is None


def coverage(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Return how often intervals of 60 datasets with 50 prompts hold, by metric."""
    monkeypatch.syspath_prepend(BENCHMARKS / "coverage")
    measured = importlib.import_module("measure_differences")
    names = {"fpr_at_tpr_0.95", "auprc", "accuracy"}
    cell = next(cell for cell in measured.CELLS if cell.name == "n50-p0.5")
    stored = json.loads((BENCHMARKS / "results" / "coverage.json").read_text())
    truth = stored["differences"][0]["differences"]
    differences = {name: count["truth"] for name, count in truth.items()}
    monkeypatch.setattr(measured, "true_differences", lambda _: differences)
    counts = measured.measure(cell, 60, 11, names)
    return {name: count["covered"] / count["given"] for name, count in counts.items()}


@pytest.mark.slow
def test_intervals_of_differences_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut of the benchmark: 95 %, less two standard errors of 60 datasets."""
    shares = coverage(monkeypatch)

    assert {"fpr_at_tpr_0.95", "auprc", "accuracy"} == set(shares)
    assert min(shares.values()) >= 0.9, shares


@pytest.mark.slow
def test_the_interval_of_the_test_alone_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the intervals of earlier versions the cut above fails."""
    monkeypatch.setattr(paired, "as_wide_as_sides", lambda pair, *_: pair)
    shares = coverage(monkeypatch)

    assert min(shares.values()) < 0.9, shares


def test_no_interval_of_a_difference_misses_in_silence() -> None:
    """Of all cells, intervals without a note hold in 92 of 100 datasets at least."""
    stored = json.loads((BENCHMARKS / "results" / "coverage.json").read_text())
    assert stored["differences"]
    for cell in stored["differences"]:
        for name, count in cell["differences"].items():
            silent = count["given"] - count["noted"]
            if silent >= 100:
                held = (count["covered"] - count["covered_noted"]) / silent
                assert held >= 0.92, (cell["cell"], name, held)


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
