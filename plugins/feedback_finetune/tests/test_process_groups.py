"""Launched in several processes: shared, or refused in each before anything is read."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from safebench import Plugins
from safebench.errors import DataError, ModelError, OptionError
from safebench.testing.process_groups import run_in_group
from safebench.training import is_main_process
from safebench_feedback_finetune.collect.exchanges import ChunkCollector
from safebench_feedback_finetune.commands import STAGES as COMMANDS
from safebench_feedback_finetune.commands import Stage, run_stage
from safebench_feedback_finetune.evaluate import evaluation
from safebench_feedback_finetune.options import EvaluateOptions
from safebench_feedback_finetune.process_group import (
    gather,
    group_size,
    join_group,
    leave_group,
    share,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAUNCHERS = {
    "torchrun": {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "RANK": "1"},
    "accelerate": {"WORLD_SIZE": "8", "LOCAL_RANK": "0", "RANK": "0"},
    "mpirun": {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "2"},
    "intel mpirun": {"PMI_SIZE": "4", "PMI_RANK": "0"},
    "srun": {"SLURM_STEP_NUM_TASKS": "4", "SLURM_NTASKS": "4", "SLURM_PROCID": "3"},
}
TRAIN = next(stage for stage in COMMANDS if stage.name == "train")
FLAGS = {"collected": "c", "benign": ("b.jsonl",), "out": "o"}


def _run(*command: str, **environment: str) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-m", "safebench", "feedback", *command],
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
    code, message = _run(
        *("train", "--collected", "c", "--benign", "b.jsonl", "--out", "o"),
        **LAUNCHERS[launcher],
    )

    assert code == 2
    # torchrun and accelerate say as well where the main process is
    known = launcher in ("torchrun", "accelerate")
    assert ("MASTER_ADDR" if known else "does not number as torchrun") in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("stage", COMMANDS, ids=[stage.name for stage in COMMANDS])
def test_processes_without_numbers_share_no_stage(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would take itself for the one that writes."""
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")

    with pytest.raises(OptionError, match="does not number as torchrun"):
        run_stage(stage, None, {}, Plugins([]))


@pytest.mark.slow
def test_two_processes_collect_the_bytes_of_one(
    many_rows: Path,
    tmp_path: Path,
    language_model: Path,
    run_collect: Callable[..., int],
) -> None:
    """Seven chunks for two processes: each asks its own, and one of them writes."""
    settings = (
        *("--limit", 26, "--save-every", 4, "--device", "cpu"),
        *("--generator", language_model, "--max-new-tokens", 4),
    )

    def collect(name: str) -> None:
        assert run_collect(many_rows, tmp_path / name, *settings) == 0

    collect("one")
    run_in_group(2, _count_chunks, lambda: collect("two"), tmp_path / "chunks")

    for file in ("collected.jsonl", "blocked_inputs.jsonl", "left_out.jsonl"):
        one, two = (tmp_path / name / file for name in ("one", "two"))
        assert one.exists() == two.exists()
        assert not one.exists() or one.read_bytes() == two.read_bytes()
    asked = [int(path.read_text()) for path in sorted(tmp_path.glob("chunks-*"))]
    assert asked == [4, 3]


def _count_chunks(collect: Callable[[], None], path: Path) -> None:
    """Collect, and leave the number of chunks that this process asked."""
    calls, ask = [], ChunkCollector.collect

    def counted(self: ChunkCollector, items: Any) -> Any:
        calls.append(len(items))
        return ask(self, items)

    ChunkCollector.collect = counted  # type: ignore[method-assign]  # in a fork
    collect()
    rank = os.environ["RANK"]
    path.with_name(f"{path.name}-{rank}").write_text(str(len(calls)))


@pytest.mark.slow
def test_a_group_ends_with_its_main_process() -> None:
    """With its exit code, or with one line where it is gone; nobody waits for ever."""

    def work() -> None:
        main = is_main_process()
        join_group("cpu")
        assert gather(main) == [True, False]
        assert leave_group(3 if main else 0) == 3
        assert group_size() == 1

    def fail() -> None:
        join_group("cpu")
        if is_main_process():
            return
        with pytest.raises(ModelError, match="has ended before its work was done") as e:
            share(None)
        assert "\n" not in e.value.message

    run_in_group(2, work)
    run_in_group(2, fail)


def test_the_main_process_alone_evaluates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one reads nothing, not even what is missing."""
    monkeypatch.setenv("RANK", "1")
    options = EvaluateOptions(improved="nowhere")

    assert evaluation.run(options, Plugins([]), print) == 0


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
