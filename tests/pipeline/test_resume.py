"""An interrupted run goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.checksums import unsealed
from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

COMMAND = ["run", "-c", "slow,pause=0.01", "--limit", "200", "--out", "run"]
SHARDS = 5
# A shell makes its background jobs ignore Ctrl-C, and their children inherit that.
WITH_DEFAULT_SIGINT = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def files(folder: Path, pattern: str) -> dict[str, bytes]:
    """Return the bytes of matching files by relative path."""
    paths = sorted(folder.glob(pattern))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def slow(install: Callable[..., Any]) -> Any:
    """Return an installation with the slow guard."""
    return install("slow_guard")


@pytest.fixture
def uninterrupted(slow: Any) -> dict[str, bytes]:
    """Return the predictions of a run that nobody disturbed."""
    (slow.cwd / "calm").mkdir()
    calm = slow.__class__(slow.site, slow.cwd / "calm")
    assert 0 == calm.safebench(*COMMAND).returncode
    return files(calm.cwd / "run" / "predictions", "**/*.jsonl")


def interrupt(slow: Any, with_signal: int, after: int, delay: float) -> int:
    """Start a run, send a signal `delay` s after `after` shards began; exit code.

    Without a delay, the last of these shards does not end before the signal comes.
    """
    hold = slow.cwd / "hold"
    if not delay:
        hold.write_text(f"{after}\n", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_DEFAULT_SIGINT, "-m", "safebench", *COMMAND],
        env=os.environ | {"PYTHONPATH": str(slow.site)},
        cwd=slow.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    log = slow.cwd / "shards-begun"
    begun = len(log.read_text().splitlines()) if log.exists() else 0
    while process.poll() is None:
        if log.exists() and len(log.read_text().splitlines()) >= begun + after:
            break
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(with_signal)
    process.communicate(timeout=240)
    hold.unlink(missing_ok=True)
    return process.returncode


def test_after_sigint_nothing_finished_is_lost(
    slow: Any, uninterrupted: dict[str, bytes]
) -> None:
    """Exit code 130, finished shards kept, the rest recorded, equal predictions."""
    code = interrupt(slow, signal.SIGINT, after=3, delay=0.0)
    kept = len(list((slow.cwd / "run" / "evidence").glob("*/main/*.npz")))
    status = json.loads((slow.cwd / "run" / "manifest.json").read_text())["status"]
    (slow.cwd / "shards-begun").unlink()

    again = slow.safebench(*COMMAND)

    begun = (slow.cwd / "shards-begun").read_text().splitlines()
    assert 130 == code
    assert "interrupted" == status
    assert 2 <= kept < SHARDS
    assert SHARDS - kept == len(begun)
    assert 0 == again.returncode, again.stderr
    assert uninterrupted == files(slow.cwd / "run" / "predictions", "**/*.jsonl")


def test_sigkill_at_random_moments_changes_no_byte(
    slow: Any, uninterrupted: dict[str, bytes]
) -> None:
    """Killed four times wherever it happens to be, then left to finish."""
    chance = random.Random(7)
    for _ in range(4):
        code = interrupt(slow, signal.SIGKILL, after=1, delay=chance.uniform(0.0, 0.6))
        assert code in (-signal.SIGKILL, 0)

    again = slow.safebench(*COMMAND)

    assert 0 == again.returncode, again.stderr
    assert uninterrupted == files(slow.cwd / "run" / "predictions", "**/*.jsonl")
    rows = (slow.cwd / "run" / "results.jsonl").read_text().splitlines()
    metrics = [json.loads(row)["metric"] for row in rows]
    assert len(metrics) == len(set(metrics))


def test_another_threshold_or_strategy_loads_no_model(slow: Any) -> None:
    """Stored evidence is read again; only rows change."""
    assert 0 == slow.safebench(*COMMAND).returncode
    (slow.cwd / "shards-begun").unlink()

    again = slow.safebench(*COMMAND, "-s", "score,threshold=0.9")

    rows = map(
        json.loads, (slow.cwd / "run" / "results.jsonl").read_text().splitlines()
    )
    assert 0 == again.returncode, again.stderr
    assert not (slow.cwd / "shards-begun").exists()
    assert {0.9} == {row["threshold"] for row in rows}


def test_a_larger_limit_records_only_what_is_new(slow: Any) -> None:
    """The limit is no part of a run's identity: 200 of 260 samples are there."""
    assert 0 == slow.safebench(*COMMAND).returncode
    (slow.cwd / "shards-begun").unlink()

    more = slow.safebench(*COMMAND, "--limit", "260")

    begun = (slow.cwd / "shards-begun").read_text().split()
    assert 0 == more.returncode, more.stderr
    assert 50 <= sum(map(int, begun)) <= 62


def test_a_folder_of_another_run_is_refused_with_what_differs(slow: Any) -> None:
    """Another record option is another run; the message says which and what to do."""
    assert 0 == slow.safebench(*COMMAND).returncode

    other = slow.safebench(*COMMAND, "--set", "pause=0.02")

    assert 2 == other.returncode
    assert "holds another run" in other.stderr
    assert "pause: 0.01 there, 0.02 asked for" in other.stderr
    assert "--out" in other.stderr


def test_a_run_that_measured_nothing_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows without a value go; one value, or a row nobody can read, stays."""
    monkeypatch.chdir(tmp_path)
    command = ["run", "-c", "keyword", "--limit", "6", "--out", "out"]
    invoke = partial(CliRunner().invoke, cli, obj=Plugins())
    assert 0 == invoke([*command, "--calibration-fraction", "0"]).exit_code
    results = tmp_path / "out" / "results.jsonl"
    manifest = tmp_path / "out" / "manifest.json"
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    for name in ("evidence", "predictions"):
        shutil.rmtree(tmp_path / "out" / name)
    content = json.loads(manifest.read_text())
    content["identity"]["classifiers"]["keyword"]["identity"]["model"] = "another"
    for key in ("checksum", "files"):
        content.pop(key, None)
    manifest.write_text(json.dumps(content))

    for row in rows[1:]:
        row |= {"value": None, "model": "another"}
    results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = invoke(command)
    results.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    taken = invoke(command)

    assert 2 == refused.exit_code
    assert "holds another run" in refused.stderr
    assert 0 == taken.exit_code, taken.output
    kept = [json.loads(line) for line in results.read_text().splitlines()]
    assert any(row["value"] is not None for row in kept)
    assert {"built-in words"} == {row["model"] for row in kept}


def test_a_second_process_is_kept_out_of_a_folder_in_use(slow: Any) -> None:
    """Two writers would mix their shards."""
    (slow.cwd / "hold").write_text("1\n", encoding="utf-8")
    first = subprocess.Popen(
        [sys.executable, "-m", "safebench", *COMMAND],
        env=os.environ | {"PYTHONPATH": str(slow.site)},
        cwd=slow.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (slow.cwd / "shards-begun").exists():
            assert first.poll() is None
            time.sleep(0.01)
        second = slow.safebench(*COMMAND)
    finally:
        first.kill()
        first.wait()

    assert 2 == second.returncode
    assert "another safebench run is writing to run" in second.stderr


def test_what_a_model_learnt_while_recording_is_taken_over(slow: Any) -> None:
    """A budget that shrank in the first run is the budget of the second."""
    assert 0 == slow.safebench(*COMMAND).returncode
    state = next((slow.cwd / "run" / "evidence").glob("*/state.json"))
    state.write_text(json.dumps({"shards": 7}), encoding="utf-8")

    again = slow.safebench(*COMMAND, "--limit", "210")

    assert 0 == again.returncode, again.stderr
    stored = unsealed(json.loads(state.read_text(encoding="utf-8")))
    assert {"shards": 8} == stored
