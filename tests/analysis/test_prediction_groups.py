"""Groups of predictions: as stored, or equal conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.results.prediction_reading import read_predictions
from safebench.results.predictions import pool_predictions

if TYPE_CHECKING:
    from .conftest import FakeRun

SCORE = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3]
GROUPS = ["a", "a", "b", "b", "c", "c", "d", "d"]


def test_groups_are_read_without_the_dataset(run: FakeRun) -> None:
    """No dataset file is there: the lines themselves say what belongs together."""
    run.folder.mkdir()
    run.predict(score=SCORE, groups=GROUPS)

    (predictions,) = read_predictions(run.folder)

    assert GROUPS == list(predictions.groups)
    assert GROUPS * 2 == list(pool_predictions([predictions] * 2).groups)


def test_lines_without_groups_fall_back_to_equal_conversations(run: FakeRun) -> None:
    """One line of eight has no group: none is used, each text is its own."""
    run.folder.mkdir()
    run.predict(score=SCORE, groups=GROUPS[:7])

    (predictions,) = read_predictions(run.folder)

    assert run.content == list(predictions.groups)
