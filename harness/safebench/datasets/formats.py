"""Parse JSON files of rows, as lines or as one array.

Each function yields rows with the place where they stand, for messages about them.
"""

from __future__ import annotations

import hashlib
import json
import re
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
