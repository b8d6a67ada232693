"""A large JSON array is read value by value, to what Python reads of all of it."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tracemalloc
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from safebench.datasets import files, json_array
from safebench.datasets.json_array import ArrayRows
from safebench.datasets.loader import load_dataset
from safebench.datasets.resolve import resolve_dataset
from safebench.datasets.row_errors import RowErrors
from safebench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.plugins import Plugins


def read(text: str | bytes, *, skip: bool = True) -> tuple[ArrayRows, RowErrors]:
    """Return the rows of a text, and what is wrong with them."""
    data = text.encode() if isinstance(text, str) else text
    errors = RowErrors("set.json", skip=skip)
    return ArrayRows(lambda: nullcontext(io.BytesIO(data)), "set.json", errors), errors


def value(draw: random.Random, depth: int = 0) -> Any:
    """Return a value of any kind, nested up to three deep."""
    kinds: list[Any] = [
        None, True, -12.5e3, 0, "", 'q"\\ \n\u2028\U0001f600', "]" * 5, "x" * 40,
    ]  # fmt: skip
    if depth < 3:
        kinds += [
            [value(draw, depth + 1) for _ in range(draw.randrange(3))],
            {str(i): value(draw, depth + 1) for i in range(draw.randrange(4))},
        ]
    return draw.choice(kinds)


@pytest.mark.parametrize("chunk", [1, 7, 64, 2**20])
@pytest.mark.parametrize("indent", [None, 1])
def test_values_are_those_that_python_reads(
    chunk: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a chunk ends; escapes and letters of several bytes included."""
    monkeypatch.setattr(json_array, "_CHUNK", chunk)
    draw = random.Random(3)
    for n in range(12):
        rows = [{"v": value(draw), "w": value(draw)} for _ in range(n)]
        text = json.dumps(rows, indent=indent, ensure_ascii=n % 2 == 0)
        array, errors = read("\ufeff" * (n % 3 == 0) + f" \n{text}\r\n ")
        for _ in range(2):
            assert [(f"set.json[{i}]", row) for i, row in enumerate(rows)] == [*array]
        assert [] == errors.errors


def test_numbers_and_words_may_end_where_a_chunk_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are no rows, and are named with all their digits; once."""
    text = '[1234567, true, {"a": 1}, -0.25, null]'
    for chunk in range(1, len(text)):
        monkeypatch.setattr(json_array, "_CHUNK", chunk)
        array, errors = read(text)
        assert [("set.json[2]", {"a": 1})] == [*array] == [*array]
        shown = [what.rpartition(": ")[2] for _, what in errors.errors]
        assert ["'1234567'", "'True'", "'-0.25'", "'None'"] == shown


@pytest.mark.parametrize("chunk", [3, 2**20])
@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 1},\n {"a": tru}]',
        '[{"a": 1},\n\n {"a" 1}]',
        '[{"a": 1}, {"b": "x\ny"}]',
        '[{"a": 1} {"b": 2}]',
        '[{"a": "never ends}]',
        '[{"a": 1},',
        '[{"a": 1},]',
        '[\n{"a": 1}\n',
        '[{"a": "\\x"}]',
        "[",
    ],
)
def test_what_is_no_json_is_named_as_python_names_it(
    text: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its line and column."""
    monkeypatch.setattr(json_array, "_CHUNK", chunk)
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)

    with pytest.raises(DataError, match=r"set\.json:\d+: not JSON") as error:
        [*read(text)[0]]

    message = error.value.message
    assert message.startswith(f"set.json:{expected.value.lineno}: ")
    assert message.endswith(f"at column {expected.value.colno})")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}] [2]', "text behind the end of the array at column 12"),
        ('[{"a": 1, "a": 2}]', "the key 'a' occurs twice in one object"),
        (b'[\n{"a": "\xff"}]', "set.json:2: not UTF-8"),
        ("[" * 100_000, "set.json: maximum recursion depth exceeded"),
    ],
    ids=["behind", "twice", "bytes", "deep"],
)
def test_other_faults_end_it(text: str | bytes, message: str) -> None:
    """In one line."""
    with pytest.raises(DataError) as error:
        [*read(text)[0]]
    assert message in error.value.message


def test_a_dataset_is_the_same(
    tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its revision; rows that are wrong are named alike."""
    rows = [{"prompt": f"p{i}", "label": i % 2, "id": f"{i}"} for i in range(9)]
    path = tmp_path / "set.json"
    path.write_text(json.dumps([*rows, 7, {"prompt": "q", "label": "odd"}], indent=2))
    request = resolve_dataset(str(path), plugins, on_bad_row="skip")
    said: list[list[str]] = [[], []]
    whole = load_dataset(request, said[0].append)
    monkeypatch.setattr(files, "MAX_WHOLE_ARRAY", 0)
    parsed = monkeypatch.setattr(files, "_parse", None)

    other = load_dataset(request, said[1].append)

    assert parsed is None
    assert whole == other
    assert said[0] == said[1] != []
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"local:{digest[:12]}" == other.revision


def test_a_large_array_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its rows are gone through."""
    monkeypatch.setattr(json_array, "_CHUNK", 2**14)
    text = "[" + ",".join([json.dumps({"prompt": "x" * 1000})] * 1000) + "]"
    array, _ = read(text)
    tracemalloc.start()
    n = sum(1 for _ in array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert 1000 == n
    assert peak < len(text) / 4
