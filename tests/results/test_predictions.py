"""Prediction files: where they are, written and read again, whole or damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import DataError
from safebench.records import Dataset
from safebench.results.prediction_reading import (
    prediction_files,
    read_prediction_file,
    read_prediction_lines,
)
from safebench.results.prediction_writing import prediction_path, write_predictions

if TYPE_CHECKING:
    from pathlib import Path

LINES: list[dict[str, Any]] = [
    {
        "id": f"set/{row}",
        "content": f"content-{row}",
        "group": "a\u2028b",  # a line separator that is no line end
        "classifier": "org/guard",
        "model": "org/guard",
        "strategy": "greedy",
        "dataset": "set",
        "config": None,
        "split": "test",
        "part": part,
        "task": "prompt_harm",
        "score": score,
        "uncertainty": None,
        "decision": None if score is None else score >= 0.5,
        "label": label,
        "categories": None,
        "gold_categories": ["S1"],
        "tokens_in": 3,
        "error": None if score is not None else "no verdict",
    }
    for row, (part, score, label) in enumerate(
        [
            ("test", 0.75, True),
            ("test", None, False),
            ("calibration", 0.5, True),
            ("test", 0.25, None),
        ]
    )
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a guard with a slash in its name has its predictions."""
    dataset = Dataset(
        name="set",
        config=None,
        split="test",
        task="prompt_harm",
        policy=None,
        revision="local:0",
        samples=[],
        ground_truth=[],
    )
    return prediction_path(tmp_path, "org/guard", dataset, "greedy")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_is_written_is_read(tmp_path: Path, path: Path, form: str) -> None:
    """Samples of the test part with a known label, a failed one with NaN."""
    write_predictions(path, iter([dict(line) for line in LINES]), form)
    (file,) = prediction_files(tmp_path)
    predictions = read_prediction_file(file.path)

    assert ("org/guard", "set.test", "greedy") == (
        file.classifier,
        file.dataset,
        file.strategy,
    )
    assert ["set/0", "set/1"] == list(predictions.ids)
    assert [True, False] == predictions.y.tolist()
    np.testing.assert_array_equal([0.75, np.nan], predictions.score)
    np.testing.assert_array_equal([1, np.nan], predictions.decision)
    assert np.isnan(predictions.uncertainty).all()
    assert ["a\u2028b"] * 2 == list(predictions.groups)
    assert [None, "no verdict"] == list(predictions.errors)
    assert 3 == read_prediction_file(file.path, part="all").n
    assert "org/guard/greedy on set:test" == predictions.name


def test_none_writes_nothing(path: Path) -> None:
    """`--predictions none` leaves no file and no folder."""
    write_predictions(path, iter(LINES), "none")
    assert not path.parent.exists()


def test_some_samples_in_another_order(path: Path) -> None:
    """Every column follows."""
    write_predictions(path, iter(LINES), "jsonl")
    predictions = read_prediction_file(path).select([1, 0])

    assert ["set/1", "set/0"] == list(predictions.ids)
    assert [False, True] == predictions.y.tolist()
    assert ["no verdict", None] == list(predictions.errors)
    assert (2, 0) == (len(predictions.groups), predictions.select([]).n)


def test_a_line_cut_off_is_named(path: Path) -> None:
    """The file, or what a page calls it, and the number of the line."""
    write_predictions(path, iter(LINES), "jsonl")
    path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(DataError, match=r"greedy\.jsonl:4 is no prediction"):
        read_prediction_lines(path)
    with pytest.raises(DataError, match=r"^this:4 is no prediction"):
        read_prediction_lines(path, name="this")
    assert LINES[:2] == read_prediction_lines(path, most=2)
