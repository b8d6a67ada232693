"""Costs of recording evidence as columns of the leaderboard."""

from __future__ import annotations

from typing import Any

import pytest

from safebench.errors import UnknownNameError
from safebench.reporters.leaderboard import build_leaderboard
from safebench.results import Row


def row(strategy: str, value: float, **more: Any) -> Row:
    """Return an AUROC row."""
    return Row(
        run="r", classifier="c", model="m", strategy=strategy, dataset="d",
        split="test", task="prompt_harm", metric="auroc", value=value, n=10,
        higher_is_better=True, **more,
    )  # fmt: skip


ROWS = [row("dear", 0.9, seconds=8.0), row("cheap", 0.8, seconds=2.0)]


def test_a_cost_is_a_column_if_asked_for() -> None:
    """Less is better, and the least is marked."""
    table = build_leaderboard(ROWS, metrics=["auroc", "seconds"], sort="seconds")

    assert ["cheap", "dear"] == [line.strategy for line in table.lines]
    assert [2.0, 8.0] == [line.cells[1].value for line in table.lines]
    assert [True, False] == [line.cells[1].best for line in table.lines]


def test_costs_are_not_shown_unasked() -> None:
    """The usual columns are metrics."""
    assert ("auroc",) == build_leaderboard(ROWS).metrics


def test_a_mistyped_cost_is_answered_with_the_right_one() -> None:
    """Costs are known names."""
    with pytest.raises(UnknownNameError, match="did you mean 'seconds'"):
        build_leaderboard(ROWS, metrics=["second"])
