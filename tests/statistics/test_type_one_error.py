"""How often `compare` sees a difference where there is none: a cut of the benchmark.

The whole of it is in ``benchmarks/results/coverage.json``, by
``benchmarks/coverage/measure_tests.py``.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.metrics import paired as compared
from safebench.statistics import bootstrap_interval, shared_weights
from safebench.statistics.sufficient_statistics import resampled_values

if TYPE_CHECKING:
    from safebench.metrics.definition import Columns, MetricDefinition
    from safebench.statistics import ResamplingWeights

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CELLS = {
    cell["cell"]: cell
    for cell in json.loads((BENCHMARKS / "results" / "coverage.json").read_text())[
        "tests"
    ]
}
REPETITIONS = 120
TOLERATED = 0.05 + 2.6 * (0.05 * 0.95 / REPETITIONS) ** 0.5


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the benchmark's script, whose modules lie beside it."""
    monkeypatch.syspath_prepend(BENCHMARKS / "coverage")
    return importlib.import_module("measure_tests")


def rates(measured: Any, cell: str, names: set[str]) -> dict[str, float]:
    """Return the share of datasets in which each test rejects."""
    (chosen,) = (each for each in measured.CELLS if each.name == cell)
    counts = measured.measure(chosen, REPETITIONS, 7, names)
    return {name: count["rejected"] / count["given"] for name, count in counts.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("n200-p0.05", {"recall", "auroc", "auprc", "f1", "brier"}),
        ("n200-p0.5-groups-to-9", {"fpr", "auroc", "accuracy", "nll", "error_auroc"}),
    ],
)
def test_equal_guards_are_rarely_told_apart(
    measured: Any, cell: str, names: set[str]
) -> None:
    """Each test at 5 % rejects in 5 % of 120 datasets, but for chance."""
    shares = rates(measured, cell, names)

    assert names == set(shares)
    assert not {name: rate for name, rate in shares.items() if rate > TOLERATED}


def bootstrapped(
    definition: MetricDefinition,
    a: Columns,
    b: Columns,
    weights: ResamplingWeights,
    plan: compared.SwapPlan,
) -> compared.PairedTest:
    """Return the p-value of a bootstrap of the difference, as earlier versions had."""
    drawn = shared_weights(a.arrays[0], weights.group_index, n_resamples=200)
    of_a, of_b = (
        resampled_values(
            definition.statistics(drawn.group_index, drawn.n_groups, *side.arrays),
            [definition.formula],
            drawn,
        )[0]
        for side in (a, b)
    )
    interval = bootstrap_interval(
        of_b - of_a, drawn.n_resamples, drawn.n_groups, difference=True
    )
    return compared.PairedTest(a=interval, b=interval, difference=interval)


@pytest.mark.slow
def test_a_bootstrap_is_noticed(measured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the test of earlier versions the cut above fails."""
    monkeypatch.setattr(compared, "compare_columns", bootstrapped)
    shares = rates(measured, "n200-p0.05", {"auroc", "recall"})

    assert max(shares.values()) > TOLERATED, shares


@pytest.mark.slow
def test_samples_taken_for_independent_are_noticed(
    measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of up to nine prompts, of which each is taken for a group of its own."""
    monkeypatch.setattr(
        measured,
        "shared_weights",
        lambda y, groups, n_resamples: shared_weights(y, n_resamples=n_resamples),
    )
    shares = rates(measured, "n200-p0.5-groups-to-9", {"accuracy", "auroc", "nll"})

    assert max(shares.values()) > TOLERATED, shares


def test_no_cell_rejects_too_often() -> None:
    """Of about 400 tests in 20 cells none rejects more often than one of 5 % might.

    The largest of 400 shares lies up to 3.5 standard errors above 5 %: at 7.4 % of
    1,000 repetitions, and higher where there were fewer.
    """
    assert 20 == len(CELLS)
    for cell, stored in CELLS.items():
        for name, count in stored["tests"].items():
            if count["given"] >= 100:
                most = 0.05 + 3.5 * (0.05 * 0.95 / count["given"]) ** 0.5
                assert count["rejected"] / count["given"] <= most, (cell, name)


def test_few_groups_are_refused_with_a_reason() -> None:
    """A test that was not made says how many groups there were, and are needed."""
    reasons = [
        count["why"]
        for cell in CELLS.values()
        for count in cell["tests"].values()
        if count["refused"]
    ]

    assert reasons
    assert all("it takes 6" in why or why == "undefined" for why in reasons)


def test_the_pairs_are_equally_good(measured: Any) -> None:
    """Both guards of a large sample have the same accuracy, and disagree."""
    rng = np.random.default_rng(0)
    a, b = measured.draw_pair(rng, measured.PairCell(200_000, 0.3, 9))

    right = [(side.decision == side.y).mean() for side in (a, b)]
    assert right[0] == pytest.approx(right[1], abs=0.004)
    assert (a.decision != b.decision).mean() > 0.05
