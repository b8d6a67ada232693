"""Labelled prompts in a local ``.jsonl`` or ``.csv`` file, every bad row named."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, nearest

from .problems import Problems
from .reading import read_rows
from .rows import BadRowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .example import Example, Request

    Raw = tuple[str, dict[str, Any]]

STARTER = Path(__file__).with_name("data") / "starter.jsonl"


def read_jsonl(request: Request) -> Iterator[Example]:
    """Yield the rows of a JSON Lines file; raise `DataError` for bad ones."""
    path = find_file(request.source or "")
    return _read_file(path, request.source or "", request)


def read_csv(request: Request) -> Iterator[Example]:
    """Yield the rows of a CSV file with a header; raise `DataError` for bad ones."""
    path = find_file(request.source or "")
    return _read_file(path, request.source or "", request)


def read_starter(request: Request) -> Iterator[Example]:
    """Yield the prompts written for this project and shipped with it."""
    return _read_file(STARTER, STARTER.name, request, keep=("kind",))


def find_file(source: str) -> Path:
    """Return the file's path, or raise `DataError` naming what is there instead."""
    path = Path(source).expanduser()
    if path.is_dir():
        raise DataError(f"{source} is a folder: name a .jsonl or .csv file in it")
    if path.is_file():
        return path
    folder = path.parent
    if not folder.is_dir():
        raise DataError(f"no file {source}: there is no folder {folder}")
    there = sorted(p.name for p in folder.iterdir() if p.suffix in (".jsonl", ".csv"))
    listed = ", ".join(there[:5]) or "no .jsonl and no .csv file"
    hint = nearest(path.name, there) or f"; in {folder} there is: {listed}"
    raise DataError(f"no file {source}{hint}")


def _read_file(
    path: Path, name: str, request: Request, keep: tuple[str, ...] = ()
) -> Iterator[Example]:
    data = path.read_bytes()
    request.ledger.revision = f"local:{hashlib.sha256(data).hexdigest()[:12]}"
    problems = Problems(name, skip=request.on_bad_row == "skip")
    parse = _csv_rows if path.suffix.casefold() == ".csv" else _jsonl_rows
    rows = list(parse(data, name, problems))
    yield from read_rows(rows, name, request, problems, keep)


def _jsonl_rows(data: bytes, name: str, problems: Problems) -> Iterator[Raw]:
    """Split at line feeds alone: texts may hold U+2028 and other line separators."""
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            row = _json_object(line)
        except UnicodeDecodeError as error:
            problems.add(where, f"not UTF-8 (byte {error.start + 1})")
        except json.JSONDecodeError as error:
            problems.add(where, f"not JSON ({error.msg} at column {error.colno})")
        except (BadRowError, ValueError, RecursionError) as error:
            problems.add(where, str(error))
        else:
            yield where, row


def _json_object(line: bytes) -> dict[str, Any]:
    row = json.loads(line.decode("utf-8"))
    if not isinstance(row, dict):
        raise BadRowError(f"not a JSON object: {str(row)[:40]!r}")
    if b"\\ud" in line.lower():  # an escape may be half of a character
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadRowError("not Unicode (half of a surrogate pair)") from None
    return row


def _csv_rows(data: bytes, name: str, problems: Problems) -> Iterator[Raw]:
    """Yield rows by header; a record's line is the one it starts on."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}:{line}: not UTF-8") from None
    csv.field_size_limit(sys.maxsize)  # real prompts exceed the default 131,072
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    start = 1
    while True:
        try:
            record = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}:{start}: not CSV ({error})") from None
        where, start = f"{name}:{start}", lines.line_num + 1
        if not header:
            header = [column.strip() for column in record]
            _refuse_twins(header, where)
        elif record and len(record) != len(header):
            counts = f"{len(record)} fields, the header has {len(header)}"
            problems.add(where, counts)
        elif record:
            yield where, dict(zip(header, record, strict=True))


def _refuse_twins(header: list[str], where: str) -> None:
    for column in header:
        if header.count(column) > 1:
            raise DataError(f"{where}: column {column!r} occurs twice")
