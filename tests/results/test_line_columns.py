"""Lines that are made of columns are those that `json.dumps` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from safebench.results.line_columns import Constant, LineColumns, Varying
from safebench.results.prediction_reading import read_prediction_lines
from safebench.results.prediction_writing import ROWS_IN_GROUP, write_predictions

if TYPE_CHECKING:
    from pathlib import Path

VALUES = [0.1 + 0.2, 1e308, -0.0, 5e-324, None, 12345678901234567890, 1.0]


def columns() -> LineColumns:
    """Return lines with what JSON has to escape, and numbers of all sizes."""
    texts = ['"', "\\", "\u2028", "a\nb", "\x7f", "100 %s", "%d"]
    return LineColumns(
        {
            "id": Varying(lambda: texts),
            "model": Constant('50% of "it"'),
            "score": Varying(lambda: VALUES),
            "decision": Constant(True),
            "categories": Varying(lambda: [{"S1": value} for value in VALUES]),
        },
        len(VALUES),
    )


def test_the_text_of_lines_is_what_json_writes() -> None:
    """Character by character."""
    lines = columns()

    expected = [json.dumps(line, ensure_ascii=False) + "\n" for line in lines]

    assert expected == list(lines.json_lines())
    assert len(VALUES) == len(lines)


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_what_json_has_not_is_refused(value: float) -> None:
    """As `json.dumps` does without NaN."""
    lines = LineColumns({"score": Varying(lambda: [value])}, 1)

    with pytest.raises(ValueError, match="JSON"):
        list(lines.json_lines())


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_both_forms_hold_the_same(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a column is empty in the first rows, and a number in later ones."""
    monkeypatch.setattr(
        "safebench.results.prediction_writing.ROWS_IN_GROUP", 2 if ROWS_IN_GROUP else 0
    )
    scores = [None, None, 0.5, None, 1.5]
    lines = LineColumns(
        {
            "id": Varying(lambda: map(str, range(5))),
            "score": Varying(lambda: scores),
            "categories": Varying(lambda: [{"S1": score} for score in scores]),
        },
        5,
    )

    write_predictions(tmp_path / "p.jsonl", lines, form)

    (path,) = (p for p in tmp_path.iterdir() if p.stem == "p")
    assert list(lines) == read_prediction_lines(path)
