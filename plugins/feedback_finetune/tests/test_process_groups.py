"""Launched in several processes: refused in each of them, before anything is read."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LAUNCHERS = {
    "torchrun": {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "RANK": "1"},
    "accelerate": {"WORLD_SIZE": "8", "LOCAL_RANK": "0", "RANK": "0"},
    "mpirun": {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "2"},
    "intel mpirun": {"PMI_SIZE": "4", "PMI_RANK": "0"},
}
STAGES = {
    "train": ("--collected", "c", "--benign", "b.jsonl", "--out", "o"),
    "collect": ("-d", "d.jsonl", "--out", "o"),
    "evaluate": ("--improved", "o"),
    "full": ("-d", "d.jsonl", "--benign", "b.jsonl", "--out", "o"),
}


def _run(stage: str, environment: dict[str, str]) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-m", "safebench", "feedback", stage, *STAGES[stage]],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    return result.returncode, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_process_of_a_group_says_why(launcher: str) -> None:
    """Whatever its rank, and whichever launcher numbered it: one line, exit code 2."""
    code, message = _run("train", LAUNCHERS[launcher])

    assert code == 2
    assert "feedback train runs in one process" in message
    assert len(message.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_shares_its_folder(stage: str) -> None:
    """All stages write into one folder."""
    code, message = _run(stage, LAUNCHERS["torchrun"])

    assert code == 2
    assert f"feedback {stage} runs in one process" in message


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1", "", "none"])
def test_a_group_of_one_is_none(size: str) -> None:
    """Launchers of one process are no obstacle: the stage looks for its input."""
    _, message = _run("train", {"WORLD_SIZE": size})

    assert "one process" not in message
    assert "is no collection" in message
