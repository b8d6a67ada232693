"""Marks of rows that do not differ significantly from the best."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from safebench.metrics.catalog import SPECS
from safebench.results.comparison import ties_with_best
from safebench.testing.result_rows import result_row

if TYPE_CHECKING:
    from conftest import Write

    from safebench.results import Row


def row(strategy: str, metric: str = "auroc") -> Row:
    """Return a row of a run called one."""
    return result_row(
        run="one",
        classifier="guard",
        strategy=strategy,
        dataset="set",
        config=None,
        split="test",
        metric=metric,
        higher_is_better=True,
    )


def test_like_the_best_and_unlike_it(
    write: Write, scores: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Nearly the same scores stay open, much weaker ones do not."""
    y, weak, strong = scores
    write("one", "guard/best", y, strong)
    write("one", "guard/like", y, strong - 0.001 * (np.arange(200) % 3))
    write("one", "guard/weak", y, weak)
    rows = [row("best"), row("like"), row("weak"), row("lost")]

    expected = [False, True, False, False]
    assert expected == ties_with_best(rows, [Path("runs/one")], SPECS)


def test_without_predictions_nothing_is_told(write: Write) -> None:
    """No folder, or a metric without a paired test: no marks, and no error."""
    write("one", "guard/best", [True], [0.9])
    write("one", "guard/like", [True], [0.8])

    assert [False, False] == ties_with_best([row("best"), row("like")], [], SPECS)
    costs = [row("best", "seconds"), row("like", "seconds")]
    assert [False, False] == ties_with_best(costs, [Path("runs/one")], SPECS)
    assert [] == ties_with_best([], [], SPECS)


def test_runs_in_folders_of_one_name_are_not_mixed_up(
    write: Write, scores: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Rows that go by their folder's path are tested on the files below it."""
    y, _, strong = scores
    write("before/run", "guard/best", y, strong)
    write("after/run", "guard/best", y, strong - 0.001 * (np.arange(200) % 3))
    folders = [Path("runs/before/run"), Path("runs/after/run")]
    rows = [replace(row("best"), run=str(folder)) for folder in folders]

    assert [False, True] == ties_with_best(rows, folders, SPECS)
