"""Bytes and characters: line ends, encodings, what JSON allows and Python does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset

    Read = Callable[..., Dataset]
    Refused = Callable[..., str]
    Write = Callable[..., str]

GOOD = '{"prompt": "hello", "label": "safe"}'
BAD = '{"prompt": "kill", "label": "unsafe"}'


def test_a_text_with_a_line_separator_is_one_row(read: Read, write: Write) -> None:
    """U+2028, U+2029 and U+0085 are text, as JSON allows; only a line feed splits."""
    text = "one\u2028two\u2029three\x85four"
    path = write(json.dumps({"prompt": text, "label": 1}, ensure_ascii=False), GOOD)

    found = read(path)

    assert 2 == len(found)
    assert text == found.samples[0].judged.text


def test_windows_line_ends_and_a_byte_order_mark_are_read(
    read: Read, tmp_path: Path
) -> None:
    """A file saved by a Windows editor reads the same."""
    path = tmp_path / "set.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n{BAD}\r\n".encode())

    found = read(str(path))

    assert [False, True] == [gold.label.value for gold in found.golds]


def test_bytes_that_are_no_utf8_are_named(refused: Refused, tmp_path: Path) -> None:
    """A Latin-1 line is a bad row, in CSV and in JSON Lines."""
    lines, table = tmp_path / "set.jsonl", tmp_path / "set.csv"
    lines.write_bytes(GOOD.encode() + b'\n{"prompt": "caf\xe9", "label": 0}\n')
    table.write_bytes(b"prompt,label\nx,0\ncaf\xe9,0\n")

    assert refused(str(lines)).startswith(f"{lines}:2: not UTF-8")
    assert f"{table}:3: not UTF-8" == refused(str(table))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"prompt": "\\ud800", "label": 0}', "not Unicode"),
        ("[" * 100_000, "recursion"),
        ('{"prompt": "x", "label": ' + "1" * 5000 + "}", "integer string"),
        ('{"prompt": "x", "label": NaN}', "unknown label nan"),
    ],
)
def test_json_that_python_chokes_on_is_a_bad_row(
    refused: Refused, write: Write, line: str, problem: str
) -> None:
    """Half characters, bottomless nesting, endless numbers: no traceback."""
    path = write(GOOD, line)

    message = refused(path)

    assert message.startswith(f"{path}:2: ")
    assert problem in message


def test_an_escaped_pair_of_surrogates_is_one_character(
    read: Read, write: Write
) -> None:
    """An emoji written as two escapes is read as what it is."""
    found = read(write('{"prompt": "\\ud83d\\ude00", "label": 0}'))

    assert "\N{GRINNING FACE}" == found.samples[0].judged.text
