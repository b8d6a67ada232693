"""Progress of recording in a log: rate, time left, and one line at the end."""

from __future__ import annotations

import pytest

from safebench.progress import progress_bar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose only number is what the monotonic clock says."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_log_shows_rate_and_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not before ten seconds have passed, and at the end how long it took."""
    with progress_bar("guard on set", 40) as on_progress:
        clock[0] += 5
        on_progress(10)
        clock[0] += 5
        on_progress(10)
        clock[0] += 10
        on_progress(20)

    assert [
        "guard on set: 20/40, 2.0/s, about 10 s left",
        "guard on set: 40/40, 2.0/s, 20.0 s",
    ] == capsys.readouterr().err.splitlines()


def test_broken_off_work_reports_no_time(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is the last thing that is said."""
    with pytest.raises(KeyboardInterrupt), progress_bar("guard on set", 40):
        raise KeyboardInterrupt

    assert "" == capsys.readouterr().err
