"""From a command to a table, on the embedded guard and the starter set."""

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
    from pathlib import Path

pytestmark = pytest.mark.slow

RUN = ["run", "-c", "llamaguard", "--limit", "96", "--out", "run"]
# A shell makes its background jobs ignore Ctrl-C, and their children inherit that.
HEED = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
HEAVY = "sorted({'torch', 'transformers', 'peft'} & set(sys.modules))"
PROBE = f"""
import runpy, sys
try:
    runpy.run_module("safebench", run_name="__main__", alter_sys=True)
finally:
    print("LOADED", {HEAVY}, file=sys.stderr)
"""


def start(folder: Path, *args: str, probe: bool = False) -> subprocess.Popen[str]:
    """Start the command line in a folder, one thread."""
    head = ["-c", PROBE] if probe else ["-m", "safebench"]
    return subprocess.Popen(
        [sys.executable, "-c", HEED, *head, *args],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait for a command that must succeed; return what it printed."""
    out, err = process.communicate(timeout=240)
    assert 0 == process.returncode, err
    return out, err


def predictions(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every prediction file."""
    results = (folder / "run" / "predictions").glob("**/*.jsonl")
    return {path.name: path.read_bytes() for path in sorted(results)}


def rows(folder: Path) -> dict[tuple[str, str], Any]:
    """Return the results by strategy and metric."""
    lines = (folder / "run" / "results.jsonl").read_text().splitlines()
    return {(r["strategy"], r["metric"]): r for r in map(json.loads, lines)}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which one run was made, in shards of 16."""
    folder = tmp_path_factory.mktemp("calm")
    finish(start(folder, *RUN, "-s", "marginal_any", "--shard-size", "16"))
    return folder


def test_a_run_leaves_a_table_predictions_and_a_manifest(calm: Path) -> None:
    """Every row says what it is about and rests on."""
    results = rows(calm)
    manifest = json.loads((calm / "run" / "manifest.json").read_text())

    auroc = results["marginal_any", "auroc"]
    assert "done" == manifest["status"]
    assert "tiny-guard (embedded)" == auroc["model"]
    assert auroc["n"] == auroc["n_scored"] == auroc["n_pos"] + auroc["n_neg"]
    assert auroc["bound_low"] <= auroc["value"] <= auroc["bound_high"]
    assert auroc["forward_passes"] > 0
    assert auroc["tokens"] > 0
    assert "cpu" == auroc["device"]
    assert results["marginal_any", "micro_f1"]["policy_map"] is not None


def test_a_second_strategy_needs_no_model(calm: Path) -> None:
    """Stored evidence is read by another strategy without torch."""
    _, err = finish(start(calm, *RUN, "-s", "greedy", probe=True))

    results = rows(calm)
    assert "LOADED []" in err
    assert {"greedy", "marginal_any"} == {strategy for strategy, _ in results}
    assert 0.0 <= results["greedy", "accuracy"]["value"] <= 1.0


def test_greedy_scores_are_zero_or_one_and_marginals_lie_within_bounds(
    calm: Path,
) -> None:
    """The two readings of one tree keep what each promises."""
    finish(start(calm, *RUN, "-s", "greedy"))
    lines = {
        name: [json.loads(line) for line in text.decode().splitlines()]
        for name, text in predictions(calm).items()
    }

    assert {0.0, 1.0} >= {line["score"] for line in lines["greedy.jsonl"]}
    for line in lines["marginal_any.jsonl"]:
        assert line["lower"] <= line["score"] <= line["upper"] <= 1 + 1e-6
    raw = {line["raw"].strip().partition("\n")[0] for line in lines["greedy.jsonl"]}
    assert raw <= {"safe", "unsafe"}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    calm: Path, tmp_path: Path
) -> None:
    """SIGKILL twice and SIGINT once, then a quiet run: equal predictions."""
    chance = random.Random(11)
    command = [*RUN, "-s", "marginal_any", "--shard-size", "16"]
    for sent in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process = start(tmp_path, *command)
        deadline = time.monotonic() + 240
        before = len(list(tmp_path.glob("run/evidence/*/main/*.npz")))
        while process.poll() is None and time.monotonic() < deadline:
            if len(list(tmp_path.glob("run/evidence/*/main/*.npz"))) > before:
                break
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(sent)
        process.communicate(timeout=240)
        assert process.returncode in (-sent, 130, 0)
    finish(start(tmp_path, *command))

    name = "marginal_any.jsonl"
    assert predictions(calm)[name] == predictions(tmp_path)[name]


def test_the_leaderboard_shows_both_strategies(calm: Path) -> None:
    """One line a combination, the embedded guard named as what it is."""
    finish(start(calm, *RUN, "-s", "greedy"))

    out, _ = finish(start(calm, "leaderboard", "run"))

    assert "greedy" in out
    assert "marginal_any" in out
    assert "tiny-guard (embedded)" in out
    assert all(len(line) <= 80 for line in out.splitlines())
