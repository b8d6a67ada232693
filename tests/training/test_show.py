"""What a training shows: measures, and how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.reporters.table import View
from safebench.training import Measure
from safebench.training.process import is_main_process, wait_for_manifest
from safebench.training.progress import Bar, clock
from safebench.training.report import measures_text

if TYPE_CHECKING:
    from pathlib import Path

MEASURES = [
    Measure(who="member 1", part="test", metric="f1", value=0.81234, n=60),
    Measure(
        who="ensemble", part="test", metric="f1", value=0.85, low=0.8, high=0.9,
        method="bootstrap", n=60,
    ),
    Measure(who="ensemble", part="test", metric="auroc", value=None, note="one class"),
]  # fmt: skip


def test_a_pipe_gets_one_aligned_line_a_measure() -> None:
    """Every number, interval, count and note, nothing cut, no styles."""
    head, *lines = measures_text(MEASURES, View(width=40, styles=False)).splitlines()

    assert head.startswith("who       part  metric  value  95 % interval")
    assert "member 1  test  f1      0.812                  60" == lines[0].rstrip()
    assert "ensemble  test  f1      0.850  [0.800, 0.900]  60  bootstrap" == lines[1]
    assert lines[2].startswith("ensemble  test  auroc   -")
    assert lines[2].endswith("one class")


@pytest.mark.parametrize("width", [60, 200])
def test_a_terminal_gets_a_row_each_and_columns_that_fit(width: int) -> None:
    """Metrics go side by side, into a second table where the screen ends."""
    text = measures_text(MEASURES, View(width=width, styles=True, colour=False))

    assert "0.812" in text
    assert "[0.800, 0.900]" in text
    assert "auroc" in text
    assert "n: test 60" in text
    assert "95 % intervals: bootstrap" in text
    assert "auroc: one class" in text
    assert "…" not in text


def test_no_measures_show_nothing() -> None:
    """Not even a head."""
    assert "" == measures_text([], View(styles=False))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3725, "1 h 2 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    """Two units at most."""
    assert text == clock(seconds)


def test_a_log_gets_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line after the pause has passed, with the time left, and one at the end."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    bar = Bar("member 1", 40).start(done=10)
    now += 20
    bar.move(10)  # too early for a line
    bar.say("loss 0.5")
    now += 20
    bar.move(10)
    now += 20
    bar.move(10)
    bar.end()

    # 20 steps in 40 s since the resumption, so the last 10 take 20 s
    assert [
        "member 1: 30/40 steps, loss 0.5, about 20 s left",
        "member 1: 40/40 steps, loss 0.5, in 1 min 0 s",
    ] == capsys.readouterr().err.splitlines()


def test_before_the_first_step_no_time_left_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No rate is known yet, nor just after going on from a checkpoint."""
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    bar = Bar("member 1", 40).start(done=10)
    now += 31
    bar.move(0)

    assert "member 1: 10/40 steps, starting\n" == capsys.readouterr().err


def test_only_the_main_process_shows_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of a launched group say nothing."""
    monkeypatch.setenv("RANK", "3")

    with Bar("member 1", 1) as bar:
        bar.move()

    assert "" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("env", "main"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
    ],
)
def test_one_process_of_a_group_is_the_main_one(
    env: dict[str, str], main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The global rank counts; the local one where there is no other."""
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    assert main is is_main_process()


def test_waiting_for_a_main_process_that_failed_ends(tmp_path: Path) -> None:
    """The others do not wait for ever."""
    from safebench.errors import RunFolderError

    with pytest.raises(RunFolderError, match="main process wrote no"):
        wait_for_manifest(tmp_path, patience=0.0)
