"""A run may be killed at any moment: the next one finishes, cleans up, and agrees."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_KILLS = 6  # a run of 0.5 s of recording each: as many as a test may take
STRATEGIES = ("-s", "score", "-s", "other=score,threshold=0.3", "-s", "Third=score")
COMMAND = ["run", "-c", "slow,pause=0.001", "--limit", "200", *STRATEGIES]


@pytest.fixture
def slow(install: Callable[..., Any]) -> Any:
    """Return an installation with the slow guard."""
    return install("slow_guard")


def kill_after(slow: Any, words: list[str], delay: float) -> None:
    """Start a run and kill it after some seconds, wherever it is by then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "safebench", *words],
        env=os.environ | {"PYTHONPATH": str(slow.site), "OMP_NUM_THREADS": "1"},
        cwd=slow.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of predictions, by path."""
    paths = sorted(folder.glob("predictions/*/*/*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def values(folder: Path) -> dict[tuple[str, str], Any]:
    """Return what was measured, by strategy and metric."""
    rows = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return {(row["strategy"], row["metric"]): (row["value"], row["n"]) for row in rows}


def consistent(folder: Path) -> bool:
    """Tell whether each prediction that is there belongs to the rows beside it.

    By the threshold: decisions and rows of one run have the same.
    """
    table = folder / "results.jsonl"
    rows = (
        list(map(json.loads, table.read_text().splitlines())) if table.exists() else []
    )
    thresholds = {row["strategy"]: row["threshold"] for row in rows}
    for path in folder.glob("predictions/*/*/*.jsonl"):
        for line in map(json.loads, path.read_text().splitlines()):
            decided = line["score"] >= thresholds[line["strategy"]]
            if decided != line["decision"]:
                return False
    return True


@pytest.mark.slow
def test_kills_leave_nothing_wrong_and_nothing_behind(slow: Any) -> None:
    """At random moments of recording and judging, thresholds changing on the way."""
    assert 0 == slow.safebench(*COMMAND, "--out", "calm").returncode
    started = time.monotonic()
    assert 0 == slow.safebench(*COMMAND, "--out", "measured").returncode
    duration = time.monotonic() - started
    chance = random.Random(12)
    folder = slow.cwd / "run"
    for kill in range(N_KILLS):
        # what changes from run to run must not be mixed
        threshold = ["--set", f"score.threshold={0.1 * (kill % 3 + 1)}"]
        delay = chance.uniform(0.3, 1.0) * duration
        kill_after(slow, [*COMMAND, *threshold, "--out", "run"], delay)
        assert consistent(folder), f"kill {kill}"
    planted = [
        folder / ".manifest.json.999999999.tmp",
        folder / "evidence" / "key" / "main" / ".00000.npz.999999999.tmp",
        folder / "predictions" / "c" / f".s.jsonl.{os.getpid()}.tmp",
    ]
    for path in planted:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half a fi")

    again = slow.safebench(*COMMAND, "--out", "run")

    assert 0 == again.returncode, again.stderr
    assert contents(slow.cwd / "calm") == contents(folder)
    assert values(slow.cwd / "calm") == values(folder)
    assert [] == list(folder.rglob("*.tmp"))
    assert "set aside" not in again.stderr
