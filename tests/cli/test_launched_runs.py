"""`run` under torchrun or accelerate launch: one run, with as many workers."""

from __future__ import annotations

import os

import pytest

from safebench.cli.launched import is_left_out, with_launched_workers
from safebench.errors import OptionError
from safebench.pipeline.config import RunConfig

ALL = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR")


@pytest.fixture(autouse=True)
def _no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALL:  # set and not deleted, so that each is put back
        monkeypatch.setenv(name, "")


def group(monkeypatch: pytest.MonkeyPatch, rank: int, size: int, here: int) -> None:
    """Be a process as torchrun starts it."""
    values = (rank, rank % here, size, here, "127.0.0.1")
    for name, value in zip(ALL, values, strict=True):
        monkeypatch.setenv(name, str(value))


def test_the_first_process_is_the_run_and_the_others_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a worker for each process, and forgets the group: models would wait."""
    group(monkeypatch, 2, 4, 4)
    assert is_left_out()
    group(monkeypatch, 0, 4, 4)
    assert not is_left_out()
    config = with_launched_workers(RunConfig())
    assert (config.executor, config.workers) == ("processes", 4)
    assert not any(os.environ.get(name) for name in ALL)
    assert "--executor processes --workers 4" in capsys.readouterr().err


def test_what_the_user_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """An executor of the command or the run file goes before the launcher's."""
    group(monkeypatch, 0, 4, 4)
    config = RunConfig(executor="ray", workers=2)
    assert with_launched_workers(config) == config


def test_a_process_by_itself_is_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a launcher, and under one that starts a single process."""
    assert not is_left_out()
    assert with_launched_workers(RunConfig()) == RunConfig()
    group(monkeypatch, 0, 1, 1)
    assert with_launched_workers(RunConfig()) == RunConfig()


def test_groups_that_cannot_be_one_run_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Several machines, and a number without a group, which would wait for ever."""
    group(monkeypatch, 0, 8, 4)
    with pytest.raises(OptionError, match="8 processes, 4 of them on this machine"):
        with_launched_workers(RunConfig())
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(
        OptionError, match=r"RANK=1 .* unset RANK to run in one process"
    ):
        is_left_out()
