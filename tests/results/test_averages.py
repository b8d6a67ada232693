"""Means over datasets, and rows by the names of a table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import RunFolderError, UnknownNameError
from safebench.reporters.leaderboard import build_leaderboard
from safebench.reporters.pivot import pivot_datasets
from safebench.results.averages import average_rows, mean_interval
from safebench.results.row_filter import filter_rows
from safebench.testing.result_rows import result_row

if TYPE_CHECKING:
    from safebench.results import Row


def on(dataset: str, value: float | None, strategy: str = "one", **more: Any) -> Row:
    """Return an AUROC on a dataset."""
    return result_row(dataset=dataset, value=value, strategy=strategy, **more)


def test_an_interval_of_normal_estimates_is_the_usual_one() -> None:
    """Symmetric ends z * s apart give z * sqrt(sum of s^2) / k."""
    z, spreads, values = 1.959964, (0.01, 0.03, 0.02), (0.5, 0.9, 0.7)
    pairs = zip(values, spreads, strict=True)
    low, high = mean_interval([(v, v - z * s, v + z * s) for v, s in pairs])
    half = z * math.sqrt(0.01**2 + 0.03**2 + 0.02**2) / 3

    assert low == pytest.approx(0.7 - half)
    assert high == pytest.approx(0.7 + half)


def test_a_skewed_interval_stays_skewed() -> None:
    """Worked out by hand: sqrt(.1^2 + .1^2) / 2 below, sqrt(.2^2 + .1^2) / 2 above."""
    low, high = mean_interval([(0.5, 0.4, 0.7), (0.7, 0.6, 0.8)])

    assert low == pytest.approx(0.6 - 0.0707107)
    assert high == pytest.approx(0.6 + 0.1118034)


def test_a_value_beside_its_interval_is_an_end() -> None:
    """An error of calibration may lie above its interval: nothing is added there."""
    low, high = mean_interval([(0.5, 0.3, 0.4), (0.5, 0.5, 0.7)])

    assert (low, high) == pytest.approx((0.5 - 0.2 / 2, 0.5 + 0.2 / 2))


def test_a_set_counts_once_whatever_its_size() -> None:
    """The mean of .5 and .9, with n added; it is undefined where a set is."""
    rows = [
        on("a", 0.5, n=10, n_pos=1, ci_low=0.4, ci_high=0.7),
        on("b", 0.9, n=990, n_pos=9, ci_low=0.8, ci_high=1.0),
        on("a", 0.5, "two"),
        on("b", None, "two", note="one class"),
        on("a", 0.5, "three"),
    ]
    one, two, three = average_rows(rows)

    assert (0.7, 1000, 10) == (one.value, one.n, one.n_pos)
    assert one.ci_low == pytest.approx(0.7 - 0.0707107)
    assert (None, "one class (on b:test)") == (two.value, two.note)
    assert (None, "no mean: not on b:test") == (three.value, three.note)
    assert {"mean of 2 sets"} == {row.dataset for row in (one, two, three)}


@pytest.mark.parametrize(
    ("second", "values"),
    [
        ({"value": 0.5, "run": "copy"}, [0.6]),  # the same numbers count once
        ({"value": 0.3, "run": "again"}, [0.6, None]),  # other ones are another line
    ],
)
def test_runs_of_one_set(second: dict[str, Any], values: list[float | None]) -> None:
    """A repeat neither counts twice nor is mixed with the first."""
    rows = [on("a", 0.5), on("b", 0.7), on("a", **second)]

    assert values == [
        row.value and pytest.approx(row.value) for row in average_rows(rows)
    ]


def test_a_guard_in_two_runs_is_one_line() -> None:
    """One set in each of them; the name says both."""
    (row,) = average_rows([on("a", 0.5, run="x"), on("b", 0.7, run="y")])

    assert "x+y" == row.run


@pytest.mark.parametrize(
    ("sources", "ranked"), [(("fixed", "test (original)"), False), (("a", "b"), True)]
)
def test_a_mean_of_what_saw_the_labels_is_not_ranked(
    sources: tuple[str, str], ranked: bool
) -> None:
    """One set is enough."""
    rows = [on(n, 0.5, threshold_from=s) for n, s in zip("xy", sources, strict=True)]
    (line,) = build_leaderboard(average_rows(rows)).lines

    assert ranked == line.ranked


def test_one_set_has_no_mean() -> None:
    """Refused, since the table would say nothing else."""
    with pytest.raises(RunFolderError, match="two or more"):
        average_rows([on("a", 0.5)])


GIVEN = [
    on("a", 0.5),
    on("b", 0.6, calibrator="platt"),
    on("b", 0.7, "two", classifier="other"),
]


@pytest.mark.parametrize(
    ("names", "values"),
    [
        ({}, [0.5, 0.6, 0.7]),
        ({"classifiers": ["GUARD"]}, [0.5, 0.6]),
        ({"strategies": ["one+platt"]}, [0.6]),
        ({"strategies": ["one"]}, [0.5, 0.6]),
        ({"strategies": ["all"], "datasets": ["b:test"]}, [0.6, 0.7]),
        ({"classifiers": ["guard", "other"], "datasets": ["b"]}, [0.6, 0.7]),
    ],
)
def test_rows_by_name(names: dict[str, list[str]], values: list[float]) -> None:
    """Names of one kind widen, of several narrow."""
    assert values == [row.value for row in filter_rows(GIVEN, **names)]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"classifiers": ["gard"]}, "classifier in these runs 'gard'.*'guard'"),
        ({"strategies": ["one+plat"]}, "strategy in these runs.*'one\\+platt'"),
        ({"datasets": ["b:tset"]}, "dataset in these runs.*'b:test'"),
    ],
)
def test_an_unknown_name(names: dict[str, list[str]], message: str) -> None:
    """The nearest one is named."""
    with pytest.raises(UnknownNameError, match=message):
        filter_rows(GIVEN, **names)


def test_names_that_are_nowhere_together() -> None:
    """An empty table would look like no results at all."""
    with pytest.raises(RunFolderError, match="no results with all of these"):
        filter_rows(GIVEN, ["other"], ["one"])


def test_a_column_for_every_set() -> None:
    """Sorted by the mean; a guard without a set has none, and the note names it."""
    rows = [
        *(on("a", 0.9), on("b", 0.3)),
        *(on("a", 0.5, "two"), on("b", 0.8, "two")),
        on("a", 0.95, "three"),
        *(on("a", 0.9, "like one"), on("b", 0.3, "like one")),
    ]
    table = pivot_datasets(build_leaderboard(rows, metrics=["auroc"]))
    (block,) = table.blocks
    numbers = {line.method: [cell.value for cell in line.cells] for line in block.lines}

    assert ("mean_auroc", "auroc:a:test", "auroc:b:test") == table.metrics
    assert ["two", "one", "three"] == list(numbers)
    assert [0.65, 0.5, 0.8] == pytest.approx(numbers["two"])
    assert [None, 0.95, None] == numbers["three"]
    assert 4 == len(table.lines)
    assert [1, 2, None] == [line.rank for line in block.lines]
    assert "guard one = like one" in block.footnotes
    assert "guard three: no mean: without a number on b:test" in block.footnotes


def test_a_line_without_a_mean_is_last() -> None:
    """Of a rate of errors, too, where no number is small."""
    rates = {"metric": "fpr", "higher_is_better": False}
    rows = [
        on("b", 0.1, "lacking", **rates),
        *(on("a", 0.4, "worse", **rates), on("b", 0.3, "worse", **rates)),
        *(on("a", 0.2, "better", **rates), on("b", 0.3, "better", **rates)),
    ]
    table = pivot_datasets(build_leaderboard(rows, metrics=["fpr"]))

    assert ["better", "worse", "lacking"] == [line.method for line in table.lines]
    assert [True, False, False] == [line.cells[0].best for line in table.lines]
