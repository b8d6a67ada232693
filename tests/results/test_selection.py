"""What two names stand for, and how mistakes are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.errors import RunFolderError, UnknownNameError
from safebench.results.prediction_reading import prediction_files, read_predictions
from safebench.results.selection import select_pairs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Write

Y, SCORE = [True, False], [0.9, 0.1]


@pytest.fixture
def runs(write: Write) -> None:
    """Store two guards with two strategies, and one of them again in another run."""
    for label in ("guard/greedy", "guard/joint", "other/greedy"):
        write("one", label, Y, SCORE)
    write("one", "guard/greedy", Y, SCORE, dataset="more")
    write("two", "guard/greedy", Y, SCORE)
    write("two", "guard/joint", Y, SCORE)


def selected(a: str, b: str, *runs: str) -> list[tuple[str, str, str]]:
    """Return the pairs: full names and dataset."""
    return [
        (x.full_label, y.full_label, x.dataset) for x, y in select_pairs(a, b, runs)
    ]


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("a", "b", "runs_given"),
    [
        ("guard/greedy", "guard/joint", ["runs/one"]),
        ("guard/greedy", "joint", ["one"]),
        ("GUARD/Greedy", "runs/one/guard/joint", ["one"]),
        ("runs/one/guard/greedy", "one/guard/joint", []),
    ],
)
def test_ways_to_name_two_rows(a: str, b: str, runs_given: list[str]) -> None:
    """A label, a strategy alone, a run before it; letters' case does not matter."""
    expected = [("runs/one/guard/greedy", "runs/one/guard/joint", "set.test")]
    assert expected == selected(a, b, *runs_given)


@pytest.mark.usefixtures("runs")
def test_two_runs_are_paired_by_label() -> None:
    """What both runs hold: the same strategies of the same classifier."""
    expected = [
        (f"runs/one/guard/{name}", f"runs/two/guard/{name}", "set.test")
        for name in ("greedy", "joint")
    ]
    assert expected == selected("runs/one", "runs/two")


@pytest.mark.usefixtures("runs")
def test_two_classifiers_are_paired_by_strategy() -> None:
    """The one strategy that both have, on the dataset that both ran on."""
    expected = [("runs/one/guard/greedy", "runs/one/other/greedy", "set.test")]
    assert expected == selected("guard", "other", "one")


@pytest.mark.usefixtures("runs")
def test_a_misspelt_name_gets_the_nearest() -> None:
    """One line that names the nearest, one that lists what there is."""
    with pytest.raises(UnknownNameError, match="did you mean 'guard/joint'") as caught:
        select_pairs("guard/greedy", "guard/jiont", ["one"])
    assert "there is: guard/greedy, guard/joint, other/greedy" in caught.value.message


@pytest.mark.usefixtures("runs")
def test_a_name_in_several_runs_is_refused() -> None:
    """The full names to choose from are in the message."""
    with pytest.raises(
        UnknownNameError, match="is in 2 runs; say runs/one/guard/joint"
    ):
        select_pairs("guard/joint", "other/greedy")


@pytest.mark.usefixtures("runs")
def test_one_thing_named_twice() -> None:
    """A row is not compared with itself."""
    with pytest.raises(RunFolderError, match="are the same predictions"):
        select_pairs("other", "other/greedy", ["one"])


def test_nothing_shared(write: Write) -> None:
    """No dataset that both ran on: the message says on what each ran."""
    write("one", "guard/greedy", Y, SCORE)
    write("one", "guard/joint", Y, SCORE, dataset="more")

    with pytest.raises(RunFolderError, match=r"has set\.test; 'joint' has more\.test"):
        select_pairs("greedy", "joint", ["one"])


def test_too_many_on_one_side(write: Write) -> None:
    """One side holds several strategies, the other none of them: say which."""
    for label in ("guard/a", "guard/b", "other/c"):
        write("one", label, Y, SCORE)

    with pytest.raises(UnknownNameError, match="do not say which two") as caught:
        select_pairs("guard", "other", ["one"])
    assert "'guard' holds: guard/a, guard/b" in caught.value.message


def test_a_folder_without_predictions(tmp_path: Path, write: Write) -> None:
    """A wrong run folder is answered with the nearest one."""
    write("keyword-starter", "guard/a", Y, SCORE)

    with pytest.raises(RunFolderError, match="'keyword-starter'"):
        select_pairs("a", "b", ["keyword-startr"])


def test_a_calibrated_score_is_named_with_its_calibrator(write: Write) -> None:
    """Without it the raw score is meant; two runs are paired by both names."""
    for run in ("one", "two"):
        for label in ("guard/greedy", "guard/greedy+platt"):
            write(run, label, Y, SCORE)
    raw, platt = "runs/one/guard/greedy", "runs/one/guard/greedy+platt"

    assert [(raw, platt, "set.test")] == selected("greedy", "greedy+platt", "one")
    assert [(raw, platt, "set.test")] == selected("guard/greedy", platt, "one")
    assert [
        (raw, "runs/two/guard/greedy", "set.test"),
        (platt, "runs/two/guard/greedy+platt", "set.test"),
    ] == selected("runs/one", "runs/two")


def test_predictions_of_a_calibrated_score(write: Write) -> None:
    """`--strategy greedy` reads raw scores alone; without a name both are read."""
    for label in ("guard/greedy", "guard/greedy+platt"):
        path = write("one", label, Y, SCORE)
    run = path.parents[3]

    assert ["greedy"] == [
        p.method for p in read_predictions(run, strategies=["greedy"])
    ]
    (calibrated,) = read_predictions(run, strategies=["Greedy+Platt"])
    assert ("greedy", "platt") == (calibrated.strategy, calibrated.calibrator)
    assert "guard/greedy+platt on set:test" == calibrated.name
    assert 2 == len(read_predictions(run))
    assert {None, "platt"} == {file.calibrator for file in prediction_files(run)}
