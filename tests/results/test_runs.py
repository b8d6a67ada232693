"""Which results a command means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.errors import SafebenchError
from safebench.results import merge_rows, resolve_runs
from safebench.testing.result_rows import result_row

if TYPE_CHECKING:
    from pathlib import Path

ROW = result_row(run="one")
TWO = result_row(run="two")


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
    assert [TWO] == resolve_runs(given)


def test_without_names_every_run_is_read(root: Path) -> None:
    """All finished runs below ./runs, by name."""
    assert [ROW, TWO] == resolve_runs([])
    assert [ROW, TWO] == resolve_runs(["runs"])


def test_no_runs_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the command that makes a run; exit code 2."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SafebenchError, match="`safebench run`") as caught:
        resolve_runs([])
    assert 2 == caught.value.exit_code


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("runs/keyword-tow", "runs/keyword-two"), ("keywrd-one", "keyword-one")],
)
def test_a_typo_gets_the_nearest_name(root: Path, given: str, nearest: str) -> None:
    """A folder that is not there is answered with the one that was meant."""
    with pytest.raises(SafebenchError, match=f"did you mean '{nearest}'"):
        resolve_runs([given])


def test_an_unfinished_run_says_how_to_finish_it(root: Path) -> None:
    """A run folder without results is not the same as a missing one."""
    with pytest.raises(SafebenchError, match="the run has not finished"):
        resolve_runs(["runs/unfinished"])
