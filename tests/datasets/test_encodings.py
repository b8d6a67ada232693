"""Encodings and line ends of files, and JSON that Python cannot represent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    ErrorMessage = Callable[..., str]
    WriteFile = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'
BAD = '{"prompt": "kill", "label": "unsafe"}'


def test_a_text_with_a_line_separator_is_one_row(
    load: Load, write_file: WriteFile
) -> None:
    """U+2028, U+2029 and U+0085 are text, as JSON allows; only a line feed splits."""
    text = "one\u2028two\u2029three\x85four"
    path = write_file(
        json.dumps({"prompt": text, "label": 1}, ensure_ascii=False), GOOD
    )

    dataset = load(path)

    assert 2 == len(dataset)
    assert text == dataset.samples[0].judged.text


def test_windows_line_ends_and_a_byte_order_mark_are_read(
    load: Load, tmp_path: Path
) -> None:
    """A file saved by a Windows editor reads the same."""
    path = tmp_path / "set.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n{BAD}\r\n".encode())

    dataset = load(str(path))

    assert [False, True] == [truth.label.value for truth in dataset.ground_truth]


def test_bytes_that_are_no_utf8_are_named(
    error_message: ErrorMessage, tmp_path: Path
) -> None:
    """A Latin-1 line is a bad row, in CSV and in JSON Lines."""
    lines, table = tmp_path / "set.jsonl", tmp_path / "set.csv"
    lines.write_bytes(GOOD.encode() + b'\n{"prompt": "caf\xe9", "label": 0}\n')
    table.write_bytes(b"prompt,label\nx,0\ncaf\xe9,0\n")

    assert error_message(str(lines)).startswith(f"{lines}:2: not UTF-8")
    assert f"{table}:3: not UTF-8: save it as UTF-8" == error_message(str(table))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"prompt": "\\ud800", "label": 0}', "not Unicode"),
        ("[" * 100_000, "recursion"),
        ('{"prompt": "x", "label": ' + "1" * 5000 + "}", "integer string"),
        ('{"prompt": NaN, "label": 0}', "empty prompt"),
    ],
)
def test_json_that_python_cannot_represent_is_a_bad_row(
    error_message: ErrorMessage, write_file: WriteFile, line: str, problem: str
) -> None:
    """Lone surrogates, deep nesting and long integers give a message, no traceback."""
    path = write_file(GOOD, line)

    message = error_message(path)

    assert message.startswith(f"{path}:2: ")
    assert problem in message


def test_an_escaped_pair_of_surrogates_is_one_character(
    load: Load, write_file: WriteFile
) -> None:
    """An emoji written as two escapes is read as what it is."""
    dataset = load(write_file('{"prompt": "\\ud83d\\ude00", "label": 0}'))

    assert "\N{GRINNING FACE}" == dataset.samples[0].judged.text
