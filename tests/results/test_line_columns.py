"""Lines that are made of columns are those that `json.dumps` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.evidence.recording import Trace
from safebench.evidence.trace_columns import TraceColumns
from safebench.pipeline.predictions import decision_field, number_field, trace_field
from safebench.results.line_columns import Constant, LineColumns, Varying, one_of
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


def test_numbers_of_a_column_are_written_one_by_one_as_they_are() -> None:
    """Zero is not minus zero, NaN is null, and infinity is the largest double."""
    nan, inf = float("nan"), float("inf")
    numbers = [0.0, -0.0, 0.1 + 0.2, nan, -nan, 1.0, 1.0, -inf, inf, 5e-324] * 1000
    expected = [
        None if n != n else max(-1e308, min(1e308, n))  # noqa: PLR0124 - NaN alone
        for n in numbers
    ]
    for column in (np.array(numbers), np.stack([numbers, numbers], axis=1)[:, 1]):
        lines = LineColumns({"score": number_field(column)}, len(numbers))
        texts = [json.dumps({"score": value}) + "\n" for value in expected]
        assert texts == list(lines.json_lines())
        assert texts == [json.dumps(line) + "\n" for line in lines]
    singles = np.array([0.1, 1 / 3, nan], dtype=np.float32)
    lines = LineColumns({"score": number_field(singles)}, 3)
    assert [float(singles[0]), float(singles[1]), None] == [v["score"] for v in lines]


def test_decisions_and_words_are_written_as_json_writes_them() -> None:
    """Floats of 1, 0 and NaN become true, false and null; words stand for keys."""
    part = one_of({0: "a test", 1: 'a "part"', -1: None}, lambda: [1, 0, -1])
    decision = decision_field(np.array([1.0, 0.0, np.nan]))
    lines = LineColumns({"part": part, "decision": decision}, 3)
    values = [('a "part"', True), ("a test", False), (None, None)]
    expected = [{"part": word, "decision": decided} for word, decided in values]
    assert expected == list(lines)
    assert [json.dumps(line) + "\n" for line in expected] == list(lines.json_lines())


def test_what_all_traces_have_is_said_once() -> None:
    """And what differs is said of each, whether traces are columns or objects."""
    columns = TraceColumns.of({"tokens_in": [3, 3], "raw": ["a", None]}, 2)
    assert isinstance(trace_field(columns, "tokens_in"), Constant)
    objects = [Trace(tokens_in=3, raw="a"), Trace(tokens_in=3)]
    for traces in (columns, objects):
        fields = {name: trace_field(traces, name) for name in ("tokens_in", "raw")}
        lines = LineColumns(fields, 2)
        assert list(lines) == [
            {"tokens_in": 3, "raw": "a"},
            {"tokens_in": 3, "raw": None},
        ]
