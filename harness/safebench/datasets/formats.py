"""Parse text files of rows: JSON (lines or one array) and separated values.

Each function yields rows with the place where they stand, for messages about them.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
import sys
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError, OptionError, did_you_mean

from .request import BadRowError
from .row_errors import RowErrors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from .request import LoadReport

    RawRow = tuple[str, dict[str, Any]]


BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HALF_PAIR = re.compile(rb"\\u[dD]")


def json_rows(data: bytes, name: str, errors: RowErrors) -> Iterator[RawRow]:
    """Yield (where, row) of each object in JSON lines or in an array of objects.

    The content decides and not the name: both forms go by ``.json``. Bad rows are added
    to `errors`; raises `DataError` for an array that is broken as a whole.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    whole = _whole_value(data, name)
    if isinstance(whole, list):
        yield from _array_rows(whole, name, errors)
    elif isinstance(whole, dict):
        yield from _array_rows([whole], name, errors)
    else:
        # Not `splitlines`, which would also cut texts at U+2028 and other separators.
        yield from _line_rows(data.split(b"\n"), name, errors)


def parse_json(text: str) -> Any:
    """Parse JSON; a key that occurs twice in an object raises `BadRowError`.

    Python would take the last one, so that of two labels one is lost in silence.
    """
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError(
            "Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0
        )
    return _decode(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadRowError(f"the key {twice!r:.60} occurs twice in one object")
    return row


# made once: `json.loads` makes a decoder for each text that is read with a hook
_decode = json.JSONDecoder(object_pairs_hook=_object).decode


def _whole_value(data: bytes, name: str) -> Any:
    """Return the value of a file that is an array or one object on several lines.

    None for JSON lines, also for broken ones.
    """
    content = data.lstrip()
    is_array = content[:1] == b"["
    if not is_array and not (content[:1] == b"{" and _spans_lines(content)):
        return None
    try:
        return parse_json(data.decode())
    except json.JSONDecodeError as error:
        # lines of which each is an array: the message for each of them is better
        if is_array and not error.msg.startswith("Extra data"):
            raise DataError(
                f"{name}:{error.lineno}: not JSON ({error.msg} at column {error.colno})"
            ) from None
    except UnicodeDecodeError:
        pass  # read by lines, of which the bad ones are named
    except (BadRowError, ValueError, RecursionError) as error:
        raise DataError(f"{name}: {error}") from None
    return None


def _spans_lines(content: bytes) -> bool:
    """Tell whether the first line of an object is not all of it."""
    try:
        json.loads(content.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return True
    return False


def _array_rows(values: list[Any], name: str, errors: RowErrors) -> Iterator[RawRow]:
    for i, value in enumerate(values):
        where = f"{name}[{i}]"
        try:
            yield where, _row(value, escapes=True)
        except (BadRowError, RecursionError) as error:
            errors.add(where, str(error))


def _line_rows(
    lines: Iterable[bytes], name: str, errors: RowErrors
) -> Iterator[RawRow]:
    """Yield (where, row) of each line with a JSON object, skipping empty lines."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        # Only escapes can hold half a surrogate pair, and few lines have such escapes.
        escapes = b"\\u" in line and _HALF_PAIR.search(line) is not None
        try:
            row = _row(parse_json(line.decode("utf-8")), escapes=escapes)
        except UnicodeDecodeError as error:
            errors.add(where, f"not UTF-8 (byte {error.start + 1})")
        except json.JSONDecodeError as error:
            errors.add(where, f"not JSON ({error.msg} at column {error.colno})")
        except (BadRowError, ValueError, RecursionError) as error:
            errors.add(where, str(error))
        else:
            yield where, row


class JsonLines:
    """The rows of a file of JSON Lines, read from it each time they are gone through.

    `read` opens the file and yields its lines, which end with a line feed. Bad rows are
    added to `errors` once. After the first time `sha256` is that of all bytes (hex).
    """

    def __init__(
        self, read: Callable[[], Iterator[bytes]], name: str, errors: RowErrors
    ) -> None:
        self._read, self._name, self._errors = read, name, errors
        self.sha256 = ""

    def __iter__(self) -> Iterator[RawRow]:
        if self.sha256:
            again = RowErrors(self._name, skip=True)  # known already
            return _line_rows(self._lines(None), self._name, again)
        return self._first_time()

    def _first_time(self) -> Iterator[RawRow]:
        digest = hashlib.sha256()
        yield from _line_rows(self._lines(digest), self._name, self._errors)
        self.sha256 = digest.hexdigest()

    def _lines(self, digest: Any) -> Iterator[bytes]:
        """Yield lines without their ends; binary files split at line feeds alone."""
        mark = BYTE_ORDER_MARK
        for line in self._read():
            if digest is not None:
                digest.update(line)
            yield line.removeprefix(mark).removesuffix(b"\n")
            mark = b""


def is_json_lines(lines: Iterable[bytes]) -> bool:
    """Tell by the first line with content whether it is no array or long object."""
    for number, line in enumerate(lines):
        content = (line if number else line.removeprefix(BYTE_ORDER_MARK)).lstrip()
        if content:
            opens_object = content[:1] == b"{"
            return content[:1] != b"[" and not (opens_object and _spans_lines(content))
    return True


def _row(value: Any, *, escapes: bool) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRowError(f"not a JSON object: {str(value)[:40]!r}")
    # JSON allows half a surrogate pair as an escape; it cannot be encoded again, so a
    # later write of the text would fail.
    try:
        if escapes:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRowError("not Unicode (half of a surrogate pair)") from None
    return value


# A comma ends an option on the command line: the words can be typed without quotes.
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
AUTO = "auto"
# The line that Excel reads, and writes, to say which separator follows.
DIRECTIVE = re.compile(r'"?sep=([^\w\s"]|\t)"?[ ;,\t]*\r?\n', re.IGNORECASE)


def parse_separator(text: str) -> str:
    """Return the separator that ``sep=`` names, "" for auto.

    Raises `OptionError` for what can be no separator.
    """
    if text == AUTO:
        return ""
    if text in SEPARATORS:
        return SEPARATORS[text]
    separator = "\t" if text == "\\t" else text
    if len(separator) != 1 or separator.isalnum() or separator in "\"'\r\n ":
        raise OptionError(
            f"sep={text}: expected one character, or {', '.join(SEPARATORS)}"
            f"{did_you_mean(text, SEPARATORS)}"
        )
    return separator


def csv_rows(
    data: bytes,
    name: str,
    errors: RowErrors,
    *,
    separator: str,
    columns: Collection[str],
    report: LoadReport,
) -> Iterator[RawRow]:
    """Yield (where, row) of each record; `where` has the line on which it starts.

    Without a `separator`, the one under which the header has most of `columns` is
    taken; another than the file's suffix promises is noted in `report`. Raises
    `DataError` where the rest of the file cannot be trusted: not UTF-8, broken quotes,
    two columns of one name.
    """
    text, first_line = _text(data, name), 1
    if directive := DIRECTIVE.match(text):
        text, first_line = text[directive.end() :], 2
        separator = separator or directive[1]
    if not separator:
        usual = "\t" if ".tsv" in name.casefold() else ","
        separator = _detect(text, columns, usual)
        if separator != usual:
            word = next(w for w, char in SEPARATORS.items() if char == separator)
            report.notes.append(
                f"{name}: read with the separator {word} (sep=NAME says another)"
            )
    csv.field_size_limit(sys.maxsize)  # the default of 131,072 is short for a prompt
    records = csv.reader(
        io.StringIO(text, newline=""), strict=True, delimiter=separator
    )
    header: list[str] = []
    start = first_line
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}:{start}: not CSV ({error})") from None
        # A quoted field may span lines: the next record starts after the last one read.
        where, start = f"{name}:{start}", records.line_num + first_line
        if not header:
            header = [column.strip() for column in record]
            _refuse_repeated_columns(header, where)
        elif record and len(record) != len(header):
            counts = f"{len(record)} fields, the header has {len(header)}"
            errors.add(where, counts)
        elif record:
            yield where, dict(zip(header, record, strict=True))


def _text(data: bytes, name: str) -> str:
    """Decode UTF-8, or UTF-16 with its mark, which is what Excel calls Unicode text."""
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}:{line}: not UTF-8: save it as UTF-8") from None


def _detect(text: str, columns: Collection[str], usual: str) -> str:
    """Return the separator under which the header makes most sense."""

    def sense(separator: str) -> tuple[int, bool, bool]:
        header = _header(text, separator)
        named = sum(column in columns for column in header)
        # A header with one field is no table, unless nothing else fits either.
        return named, len(header) > 1, separator == usual

    return max(SEPARATORS.values(), key=sense)


def _header(text: str, separator: str) -> list[str]:
    lines = io.StringIO(text, newline="")
    try:
        records = csv.reader(lines, strict=True, delimiter=separator)
        record = next((record for record in records if record), [])
    except csv.Error:
        return []
    return [column.strip() for column in record]


def _refuse_repeated_columns(header: list[str], where: str) -> None:
    for column in header:
        if header.count(column) > 1:
            raise DataError(f"{where}: column {column!r} occurs twice")
