"""Which results a command means."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safebench.errors import SafebenchError
from safebench.reporters.leaderboard import build_leaderboard
from safebench.results import merge_rows, read_runs
from safebench.testing.result_rows import result_row

if TYPE_CHECKING:
    from pathlib import Path

ROW = result_row(run="keyword-one")
TWO = result_row(run="keyword-two")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a runs folder with two finished runs, an empty one beside them."""
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    merge_rows(runs / "keyword-one" / "results.jsonl", [ROW])
    merge_rows(runs / "keyword-two" / "results.jsonl", [TWO])
    (runs / "unfinished").mkdir()
    return runs


@pytest.mark.parametrize(
    "given",
    [
        ["runs/keyword-two"],
        ["runs/keyword-two/results.jsonl"],
        ["keyword-two"],
        ["runs/keyword-two", "runs/../runs/keyword-two/"],
    ],
)
def test_ways_to_name_one_run(root: Path, given: list[str]) -> None:
    """A folder, its file, or its name below runs; named twice it is read once."""
    assert [TWO] == read_runs(given)


def test_without_names_every_run_is_read(root: Path) -> None:
    """All finished runs below ./runs, by name."""
    assert [ROW, TWO] == read_runs([])
    assert [ROW, TWO] == read_runs(["runs"])


def test_no_runs_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the command that makes a run; exit code 2."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SafebenchError, match="`safebench run`") as caught:
        read_runs([])
    assert 2 == caught.value.exit_code


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("runs/keyword-tow", "runs/keyword-two"), ("keywrd-one", "keyword-one")],
)
def test_a_typo_gets_the_nearest_name(root: Path, given: str, nearest: str) -> None:
    """A folder that is not there is answered with the one that was meant."""
    with pytest.raises(SafebenchError, match=f"did you mean '{nearest}'"):
        read_runs([given])


def test_an_unfinished_run_says_how_to_finish_it(root: Path) -> None:
    """A run folder without results is not the same as a missing one."""
    with pytest.raises(SafebenchError, match="the run has not finished"):
        read_runs(["runs/unfinished"])


def test_a_run_is_called_as_its_folder_is_now(root: Path) -> None:
    """A folder that was renamed after its run keeps its rows apart by its new name."""
    (root / "keyword-two").rename(root / "renamed")

    assert [replace(TWO, run="renamed")] == read_runs(["renamed"])


def test_two_folders_of_one_name_are_two_runs(root: Path) -> None:
    """`before/run` and `after/run` are named by their paths, and none is lost."""
    for parent, value in (("before", 0.25), ("after", 0.5)):
        row = result_row(run="run", value=value)
        merge_rows(root.parent / parent / "run" / "results.jsonl", [row])
    rows = read_runs(["before/run", "after/run"])

    assert [("before/run", 0.25), ("after/run", 0.5)] == [
        (row.run, row.value) for row in rows
    ]
    assert 2 == len(build_leaderboard(rows).lines)
