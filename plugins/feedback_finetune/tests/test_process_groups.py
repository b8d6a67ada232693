"""Launched in several processes: refused in each of them, before anything is read."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from safebench import Plugins
from safebench.errors import DataError, OptionError
from safebench_feedback_finetune.commands import STAGES as COMMANDS
from safebench_feedback_finetune.commands import run_stage

LAUNCHERS = {
    "torchrun": {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "RANK": "1"},
    "accelerate": {"WORLD_SIZE": "8", "LOCAL_RANK": "0", "RANK": "0"},
    "mpirun": {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "2"},
    "intel mpirun": {"PMI_SIZE": "4", "PMI_RANK": "0"},
    "srun": {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"},
}
STAGES = {
    "train": ("--collected", "c", "--benign", "b.jsonl", "--out", "o"),
    "collect": ("-d", "d.jsonl", "--out", "o"),
    "evaluate": ("--improved", "o"),
    "full": ("-d", "d.jsonl", "--benign", "b.jsonl", "--out", "o"),
}
TRAIN = next(stage for stage in COMMANDS if stage.name == "train")
FLAGS = {"collected": "c", "benign": ("b.jsonl",), "out": "o"}


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
    """Training is shared under the numbers of torchrun: one line of all others."""
    code, message = _run("train", LAUNCHERS[launcher])

    assert code == 2
    # torchrun and accelerate say as well where the main process is
    known = launcher in ("torchrun", "accelerate")
    assert ("MASTER_ADDR" if known else "does not number as torchrun") in message
    assert len(message.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("stage", [name for name in STAGES if name != "train"])
def test_no_other_stage_shares_its_folder(stage: str) -> None:
    """All stages write into one folder."""
    code, message = _run(stage, LAUNCHERS["torchrun"])

    assert code == 2
    assert f"feedback {stage} runs in one process" in message


@pytest.mark.parametrize("size", ["0", "1e3", "none", "-1", "\u0662"])
def test_a_size_that_is_no_number_is_named(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library that trains reads the variable, and would fail on it much later."""
    monkeypatch.setenv("WORLD_SIZE", size)

    with pytest.raises(OptionError) as error:
        run_stage(TRAIN, None, FLAGS, Plugins([]))

    assert f"WORLD_SIZE={size!r} in the environment is no " in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{"WORLD_SIZE": "1"}, {"WORLD_SIZE": ""}, {"SLURM_NTASKS": "4"}],
    ids=["one", "empty", "sbatch"],
)
def test_a_group_of_one_is_none(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Launchers of one process are no obstacle: the stage looks for its input."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(DataError, match="is no collection"):
        run_stage(TRAIN, None, FLAGS, Plugins([]))
