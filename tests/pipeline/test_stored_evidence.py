"""Stored evidence knows what it is: its key, its code, and that it is whole."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

COMMAND = ["run", "-c", "slow,pause=0", "--limit", "80", "--out", "run"]
OTHER_CODE = "recorded by other code of safebench-test-slow-guard"


@pytest.fixture
def slow(install: Callable[..., Any]) -> Any:
    """Return an installation with the slow guard, and a finished run of it."""
    slow = install("slow_guard")
    finished = slow.safebench(*COMMAND)
    assert 0 == finished.returncode, finished.stderr
    return slow


def scores(folder: Path) -> list[float]:
    """Return the scores of the one strategy that ran."""
    (path,) = folder.glob("predictions/*/*/*.jsonl")
    return [json.loads(line)["score"] for line in path.read_text().splitlines()]


def notes(folder: Path) -> set[str]:
    """Return the notes of a results table."""
    lines = (folder / "results.jsonl").read_text().splitlines()
    return {json.loads(line)["note"] for line in lines}


def test_a_run_says_what_is_stored_and_what_is_loaded(slow: Any) -> None:
    """Nothing, all, and a part of the samples."""
    all_of_them = slow.safebench(*COMMAND)
    more = slow.safebench(*COMMAND, "--limit", "120")
    (slow.cwd / "fresh").mkdir()
    first = slow.__class__(slow.site, slow.cwd / "fresh").safebench(*COMMAND)

    assert "loading" in first.stderr
    assert "stored evidence" not in first.stderr
    assert "slow on starter:all: uses stored evidence of 80 samples" in (
        all_of_them.stderr
    )
    assert "loading" not in all_of_them.stderr
    assert "80 of 120 samples already done" in more.stderr
    assert "slow: loading slow" in more.stderr


EDITS = {
    # of another length: Python takes the byte code of a file that was edited to the
    # same length within the same second
    "guard.py": lambda text: text.replace("/ 2**32", "/ (2 * 2**32)"),
    "helper.py": lambda _: "FACTOR = 2\n",  # a file more
    "words.txt": lambda _: "a word list\n",
    "part/deep.py": lambda _: "# a folder more\n",
}


@pytest.mark.parametrize("name", EDITS)
def test_evidence_by_other_code_is_named_until_it_is_refreshed(
    slow: Any, name: str
) -> None:
    """In the run, in the table and in each row; `--refresh` records again."""
    before = scores(slow.cwd / "run")
    path = slow.site / "slow_guard" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(EDITS[name](path.read_text() if path.exists() else ""))

    reused = slow.safebench(*COMMAND)
    after_reuse = scores(slow.cwd / "run"), notes(slow.cwd / "run")
    refreshed = slow.safebench(*COMMAND, "--refresh")

    note = f"{OTHER_CODE} ({name})"
    assert 0 == reused.returncode == refreshed.returncode, refreshed.stderr
    assert f"{note}; --refresh records again" in reused.stderr
    assert note in " ".join(reused.stdout.split())
    assert before == after_reuse[0]
    assert all(note in each for each in after_reuse[1])
    assert OTHER_CODE not in refreshed.stderr + refreshed.stdout
    assert not any(OTHER_CODE in each for each in notes(slow.cwd / "run"))
    factor = 0.5 if name == "guard.py" else 1.0
    halved = pytest.approx([factor * score for score in before], rel=1e-4)
    assert halved == scores(slow.cwd / "run")


def test_one_sample_by_other_code_is_enough(slow: Any) -> None:
    """New samples are recorded by the code of today, the others stay."""
    guard = slow.site / "slow_guard" / "guard.py"
    guard.write_text(guard.read_text() + "# edited\n")

    more = slow.safebench(*COMMAND, "--limit", "81")
    refreshed = slow.safebench(*COMMAND, "--limit", "81", "--refresh")

    assert OTHER_CODE in more.stderr
    # those that the code of today recorded are not recorded once more
    begun = (slow.cwd / "shards-begun").read_text().split()
    assert 0 == refreshed.returncode
    assert 81 + 80 == sum(map(int, begun))


def test_refresh_records_all_again_where_the_code_is_the_same(slow: Any) -> None:
    """Another library, another driver: the user knows why."""
    assert 0 == slow.safebench(*COMMAND, "--refresh").returncode

    assert [40, 40, 40, 40] == list(
        map(int, (slow.cwd / "shards-begun").read_text().split())
    )


@pytest.mark.parametrize("how", ["shard", "folder", "manifest"])
def test_evidence_of_another_key_is_not_taken_for_this_one(slow: Any, how: str) -> None:
    """A shard, all shards, or the whole folder copied from another model's."""
    words = [*COMMAND[:2], "slow,pause=0.0001", *COMMAND[3:-1], "b"]
    assert 0 == slow.safebench(*words).returncode
    (key,) = (slow.cwd / "run" / "evidence").iterdir()
    (other,) = (slow.cwd / "b" / "evidence").iterdir()
    expected = scores(slow.cwd / "run")
    if how == "shard":
        shutil.copy(other / "main" / "00000.npz", key / "main" / "00001.npz")
    elif how == "folder":
        shutil.rmtree(key / "main")
        shutil.copytree(other / "main", key / "main")
    else:
        shutil.rmtree(key)
        shutil.copytree(other, key)

    again = slow.safebench(*COMMAND)

    assert 0 == again.returncode, again.stderr
    assert "another key" in again.stderr
    assert "set aside as" in again.stderr
    assert expected == scores(slow.cwd / "run")
    assert "set aside" not in slow.safebench(*COMMAND).stderr
