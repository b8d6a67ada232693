"""Measures of a training as lines for a pipe and as tables for a terminal."""

from __future__ import annotations

import pytest

from safebench.console import RenderOptions
from safebench.training import Measure
from safebench.training.report import format_measures

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
    header, *lines = format_measures(
        MEASURES, RenderOptions(width=40, styles=False)
    ).splitlines()

    assert header.startswith("who       part  metric  value  95 % interval")
    assert "member 1  test  f1      0.812                  60" == lines[0].rstrip()
    assert "ensemble  test  f1      0.850  [0.800, 0.900]  60  bootstrap" == lines[1]
    assert lines[2].startswith("ensemble  test  auroc   -")
    assert lines[2].endswith("one class")


@pytest.mark.parametrize("width", [60, 200])
def test_a_terminal_gets_a_table_whose_columns_fit(width: int) -> None:
    """Metrics go side by side, into a second table where the screen ends."""
    text = format_measures(
        MEASURES, RenderOptions(width=width, styles=True, colour=False)
    )

    assert "0.812" in text
    assert "[0.800, 0.900]" in text
    assert "auroc" in text
    assert "n: test 60" in text
    assert "95 % intervals: bootstrap" in text
    assert "auroc: one class" in text
    assert "…" not in text


def test_no_measures_show_nothing() -> None:
    """Not even a header."""
    assert "" == format_measures([], RenderOptions(styles=False))
