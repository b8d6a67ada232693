"""Lines that are plainly objects are read by a shorter way, to the same rows."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from safebench.datasets.formats import JsonLines, json_rows
from safebench.datasets.row_errors import RowErrors

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = [
    b'\xef\xbb\xbf{"prompt": "the first", "label": 1}',
    b'{"prompt": "caf\xc3\xa9 \\u00e9 \\ud83d\\ude00", "n": 1e400, "m": NaN}',
    b'{"prompt": "half \\ud800"}',
    b'{"prompt": "no UTF-8 \xff"}',
    b'{"prompt": "twice", "prompt": "twice"}',
    b'{"a": {"b": 1, "b": 2}}',
    b'{"prompt": "more"} {"prompt": "more"}',
    b'{"prompt": "Windows"}\r',
    b' {"prompt": "blank before"}\t ',
    b'{"prompt": "no-break space"}\xc2\xa0',
    b'{"prompt": "open',
    b"{",
    b"",
    b"   ",
    b"[1]",
    b"7",
    b'{"deep": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    b'{"long": ' + b"9" * 5000 + b"}",
    b'{"prompt": "the last"}',
]


def expected_rows() -> tuple[list[Any], list[int]]:
    """Return the rows that a plain reader finds, and the numbers of bad lines."""

    def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    rows, bad = [], []
    for number, line in enumerate(LINES, 1):
        content = line.removeprefix(b"\xef\xbb\xbf")
        if not content.strip():
            continue
        try:
            row = json.loads(content.decode(), object_pairs_hook=refuse_twice)
            json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append((f"f:{number}", row))
        else:
            bad.append(number)
    return rows, bad


def test_rows_and_errors_are_those_of_a_plain_reader() -> None:
    """The first time, again, and of the bytes of a small file."""
    content = b"\n".join(LINES)
    errors = RowErrors("f", skip=True)

    def read(digest: Any) -> Iterator[bytes]:
        if digest is not None:
            digest.update(content)
        yield from content.splitlines(keepends=True)

    lines = JsonLines(read, "f", errors)
    rows, bad = expected_rows()
    assert len(rows) == 5
    for _ in range(3):
        assert repr(rows) == repr(list(lines))
        assert [f"f:{number}" for number in bad] == [
            where for where, _ in errors.errors
        ]
    assert hashlib.sha256(content).hexdigest() == lines.sha256
    small = RowErrors("f", skip=True)
    assert repr(rows) == repr(list(json_rows(content, "f", small)))
    assert errors.errors == small.errors
