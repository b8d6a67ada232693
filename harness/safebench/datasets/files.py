"""Read labelled prompts, responses or pairs from a local ``.jsonl`` or ``.csv`` file.

This module parses; `.tabular` turns the parsed rows into examples.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, did_you_mean

from .rows import BadRowError
from .tabular import RowErrors, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .request import DatasetRequest, Example

    RawRow = tuple[str, dict[str, Any]]

STARTER_FILE = Path(__file__).with_name("data") / "starter.jsonl"


def read_jsonl(request: DatasetRequest) -> Iterator[Example]:
    """Yield the rows of a JSON Lines file; raise `DataError` for bad ones."""
    path = find_file(request.source or "")
    return _read_file(path, request.source or "", request)


def read_csv(request: DatasetRequest) -> Iterator[Example]:
    """Yield the rows of a CSV file with a header; raise `DataError` for bad ones."""
    path = find_file(request.source or "")
    return _read_file(path, request.source or "", request)


def read_starter(request: DatasetRequest) -> Iterator[Example]:
    """Yield the prompts written for this project and shipped with it."""
    return _read_file(STARTER_FILE, STARTER_FILE.name, request, extra_columns=("kind",))


def find_file(source: str) -> Path:
    """Return the file's path, or raise `DataError` naming similar files there."""
    path = Path(source).expanduser()
    if path.is_dir():
        raise DataError(f"{source} is a folder: name a .jsonl or .csv file in it")
    if path.is_file():
        return path
    folder = path.parent
    if not folder.is_dir():
        raise DataError(f"no file {source}: there is no folder {folder}")
    names = sorted(p.name for p in folder.iterdir() if p.suffix in (".jsonl", ".csv"))
    listed = ", ".join(names[:5]) or "no .jsonl and no .csv file"
    hint = did_you_mean(path.name, names) or f"; in {folder} there is: {listed}"
    raise DataError(f"no file {source}{hint}")


def _read_file(
    path: Path, name: str, request: DatasetRequest, extra_columns: tuple[str, ...] = ()
) -> Iterator[Example]:
    data = path.read_bytes()
    # Over the bytes, not over the path: results say which content was judged.
    request.report.revision = f"local:{hashlib.sha256(data).hexdigest()[:12]}"
    errors = RowErrors(name, skip=request.on_bad_row == "skip")
    parse = _csv_rows if path.suffix.casefold() == ".csv" else _jsonl_rows
    rows = list(parse(data, name, errors))
    yield from read_rows(rows, name, request, errors, extra_columns)


def _jsonl_rows(data: bytes, name: str, errors: RowErrors) -> Iterator[RawRow]:
    """Yield (where, row) of each line with a JSON object, skipping empty lines."""
    # Not `splitlines`, which would also cut texts at U+2028 and other separators.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            row = _json_object(line)
        except UnicodeDecodeError as error:
            errors.add(where, f"not UTF-8 (byte {error.start + 1})")
        except json.JSONDecodeError as error:
            errors.add(where, f"not JSON ({error.msg} at column {error.colno})")
        except (BadRowError, ValueError, RecursionError) as error:
            errors.add(where, str(error))
        else:
            yield where, row


def _json_object(line: bytes) -> dict[str, Any]:
    row = json.loads(line.decode("utf-8"))
    if not isinstance(row, dict):
        raise BadRowError(f"not a JSON object: {str(row)[:40]!r}")
    # JSON allows half a surrogate pair as an escape; it cannot be encoded again, so a
    # later write of the text would fail.
    if b"\\ud" in line.lower():
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadRowError("not Unicode (half of a surrogate pair)") from None
    return row


def _csv_rows(data: bytes, name: str, errors: RowErrors) -> Iterator[RawRow]:
    """Yield (where, row) of each record; `where` has the line on which it starts.

    Raises `DataError` where the rest of the file cannot be trusted: not UTF-8, broken
    quotes, two columns of one name.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}:{line}: not UTF-8") from None
    csv.field_size_limit(sys.maxsize)  # the default of 131,072 is short for a prompt
    records = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    start = 1
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}:{start}: not CSV ({error})") from None
        # A quoted field may span lines: the next record starts after the last one read.
        where, start = f"{name}:{start}", records.line_num + 1
        if not header:
            header = [column.strip() for column in record]
            _refuse_repeated_columns(header, where)
        elif record and len(record) != len(header):
            counts = f"{len(record)} fields, the header has {len(header)}"
            errors.add(where, counts)
        elif record:
            yield where, dict(zip(header, record, strict=True))


def _refuse_repeated_columns(header: list[str], where: str) -> None:
    for column in header:
        if header.count(column) > 1:
            raise DataError(f"{where}: column {column!r} occurs twice")
