"""Parse JSON into rows: a file of lines, or one array of objects."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .request import BadRowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .row_errors import RowErrors

    RawRow = tuple[str, dict[str, Any]]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
        yield from _line_rows(data, name, errors)


def parse_json(text: str) -> Any:
    """Parse JSON; a key that occurs twice in an object raises `BadRowError`.

    Python would take the last one, so that of two labels one is lost in silence.
    """
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadRowError(f"the key {twice!r:.60} occurs twice in one object")
    return row


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


def _line_rows(data: bytes, name: str, errors: RowErrors) -> Iterator[RawRow]:
    """Yield (where, row) of each line with a JSON object, skipping empty lines."""
    # Only escapes can hold half a surrogate pair, and few files have such escapes.
    escapes = re.search(rb"\\u[dD]", data) is not None
    # Not `splitlines`, which would also cut texts at U+2028 and other separators.
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
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
