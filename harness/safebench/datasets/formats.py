"""Parse JSON files of rows, as lines or as one array.

Each function yields rows with the place where they stand, for messages about them.
"""

from __future__ import annotations

import hashlib
import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .request import BadRowError
from .row_errors import RowErrors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
_decoder = json.JSONDecoder(object_pairs_hook=_object)
_decode, raw_decode = _decoder.decode, _decoder.raw_decode
_scan = _decoder.scan_once  # type: ignore[attr-defined]
# of what has no key twice
_scan_known = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


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
            yield where, array_row(value)
        except (BadRowError, RecursionError) as error:
            errors.add(where, str(error))


def _line_rows(
    lines: Iterable[bytes],
    name: str,
    errors: RowErrors,
    *,
    scan: Callable[[str, int], tuple[Any, int]] = _scan,
    bad: set[int] | None = None,
) -> Iterator[RawRow]:
    """Yield (where, row) of each line with a JSON object, skipping empty lines.

    Lines may have their line feed. `scan` reads a value from a text; the numbers of
    lines that are bad are added to `bad`.
    """
    for number, line in enumerate(lines, 1):
        where = f"{name}:{number}"
        row = _plain_object(line, scan)
        if row is not None:
            yield where, row
            continue
        line = line.removesuffix(b"\n")  # noqa: PLW2901 - as it is told of
        if not line.strip():
            continue
        try:
            row = _row(parse_json(line.decode("utf-8")), escapes=_may_be_half(line))
        except UnicodeDecodeError as error:
            errors.add(where, f"not UTF-8 (byte {error.start + 1})")
        except json.JSONDecodeError as error:
            errors.add(where, f"not JSON ({error.msg} at column {error.colno})")
        except (BadRowError, ValueError, RecursionError) as error:
            errors.add(where, str(error))
        else:
            yield where, row
            continue
        if bad is not None:
            bad.add(number)


def _plain_object(
    line: bytes, scan: Callable[[str, int], tuple[Any, int]]
) -> dict[str, Any] | None:
    """Return the object that a line is, None where somebody has to look closer.

    Without the steps of a decoder that only find out what is wrong.
    """
    if line[:1] != b"{" or _may_be_half(line):
        return None
    try:
        text = line.decode()
        row: dict[str, Any]
        row, end = scan(text, 0)
    except (ValueError, StopIteration, RecursionError):
        return None
    return None if text[end:].strip(" \t\n\r") else row


def _may_be_half(line: bytes) -> bool:
    """Tell whether a line may hold half a surrogate pair: only as an escape."""
    return b"\\u" in line and _HALF_PAIR.search(line) is not None


class JsonLines:
    """The rows of a file of JSON Lines, read from it each time they are gone through.

    `read` opens the file and yields its lines, which end with a line feed, and adds all
    bytes to the digest that it is given. Bad rows are added to `errors` once. After the
    first time `sha256` is that of all bytes (hex).
    """

    def __init__(
        self, read: Callable[[Any], Iterator[bytes]], name: str, errors: RowErrors
    ) -> None:
        self._read, self._name, self._errors = read, name, errors
        self._bad: set[int] = set()  # numbers of lines
        self.sha256 = ""

    def __iter__(self) -> Iterator[RawRow]:
        return self._again() if self.sha256 else self._first_time()

    def _first_time(self) -> Iterator[RawRow]:
        digest = hashlib.sha256()
        lines = self._lines(digest)
        yield from _line_rows(lines, self._name, self._errors, bad=self._bad)
        self.sha256 = digest.hexdigest()

    def _again(self) -> Iterator[RawRow]:
        """Read what is known to be good, so that nothing is looked for but its end."""
        known, bad = RowErrors(self._name, skip=True), self._bad
        lines = self._lines(None)
        good = (
            b"" if bad and number in bad else line
            for number, line in enumerate(lines, 1)
        )
        yield from _line_rows(
            good if bad else lines, self._name, known, scan=_scan_known
        )

    def _lines(self, digest: Any) -> Iterator[bytes]:
        """Yield lines; binary files split at line feeds alone."""
        lines = self._read(digest)
        for first in islice(lines, 1):
            yield first.removeprefix(BYTE_ORDER_MARK)
        yield from lines


def is_json_lines(lines: Iterable[bytes]) -> bool:
    """Tell by the first line with content whether it is no array or long object."""
    for number, line in enumerate(lines):
        content = (line if number else line.removeprefix(BYTE_ORDER_MARK)).lstrip()
        if content:
            opens_object = content[:1] == b"{"
            return content[:1] != b"[" and not (opens_object and _spans_lines(content))
    return True


def array_row(value: Any) -> dict[str, Any]:
    """Return a value of an array as a row; raises `BadRowError` for what is none."""
    return _row(value, escapes=True)


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
