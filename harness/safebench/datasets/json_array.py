"""The rows of a large file that is one JSON array, one after another."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from safebench.errors import DataError

from .formats import array_row, raw_decode
from .request import BadRowError
from .row_errors import RowErrors
from .text_stream import decoded, utf8_or_error

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator

    from .text_stream import Open

    RawRow = tuple[str, dict[str, Any]]

_ENCODING = "utf-8-sig"
_CHUNK = 2**20  # characters
_SPACE = re.compile(r"[ \t\n\r]*")
# how near the end an error stands if it may come of what is not read yet: the length of
# an escape with half a surrogate pair before it
_NEAR = 16


class ArrayRows:
    """The rows of a JSON array, as (where, row), read anew each time.

    `open_file` opens the file, unpacked. Values that are no objects are added to
    `errors` once. After the first time `sha256` is that of all bytes (hex). Raises
    `DataError` for what is not JSON.
    """

    def __init__(self, open_file: Open, name: str, errors: RowErrors) -> None:
        self._open, self._name, self._errors = open_file, name, errors
        self.sha256 = ""

    def __iter__(self) -> Iterator[RawRow]:
        if self.sha256:
            again = RowErrors(self._name, skip=True)  # known already
            return self._rows(again, None)
        return self._first_time()

    def _first_time(self) -> Iterator[RawRow]:
        digest = hashlib.sha256()
        yield from self._rows(self._errors, digest)
        self.sha256 = digest.hexdigest()

    def _rows(self, errors: RowErrors, digest: Any) -> Iterator[RawRow]:
        with utf8_or_error(self._open, self._name, _ENCODING), self._open() as file:
            values = _ArrayReader(decoded(file, _ENCODING, digest), self._name)
            for i, value in enumerate(values):
                where = f"{self._name}[{i}]"
                try:
                    yield where, array_row(value)
                except (BadRowError, RecursionError) as error:
                    errors.add(where, str(error))


class _ArrayReader:
    """The values of an array in a text, of which little more than one is held."""

    def __init__(self, text: io.TextIOWrapper, name: str) -> None:
        self._text, self._name = text, name
        self._buffer, self._place, self._ended = "", 0, False
        self._line, self._column = 1, 1  # of the start of the buffer

    def __iter__(self) -> Iterator[Any]:
        self._expect("[")
        if self._next() == "]":
            self._place += 1
        else:
            yield self._value()
            while self._expect(",", "]") == ",":
                yield self._value()
        if self._next():
            self._refuse("text behind the end of the array", self._place)

    def _next(self) -> str:
        """Return the next character that is no space, "" at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._place)
            assert match is not None
            self._place = match.end()
            if self._place < len(self._buffer):
                return self._buffer[self._place]
            if not self._more():
                return ""

    def _expect(self, *characters: str) -> str:
        character = self._next()
        if character not in characters:
            named = " or ".join(map(repr, characters))
            self._refuse(f"Expecting {named}", self._place)
        self._place += 1
        return character

    def _value(self) -> Any:
        self._next()
        while True:
            start = self._place
            try:
                value, end = raw_decode(self._buffer, start)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated string")
                near = error.pos >= len(self._buffer) - _NEAR
                behind = error.pos - start
                if not ((unfinished or near) and self._more()):
                    self._refuse(error.msg, self._place + behind)
            except (BadRowError, ValueError, RecursionError) as error:
                raise DataError(f"{self._name}: {error}") from None
            else:
                # a number near the end of what was read may go on
                whole = isinstance(value, (dict, list, str))
                if whole or end < len(self._buffer) - _NEAR or not self._more():
                    self._place += end - start
                    return value

    def _more(self) -> bool:
        """Read on, and forget what lies behind; False at the end."""
        gone = self._buffer[: self._place]
        if n_lines := gone.count("\n"):
            self._line += n_lines
            self._column = 1
        self._column += len(gone) - gone.rfind("\n") - 1
        kept = self._buffer[self._place :]
        # twice as much each time, so that one long value is not parsed for each chunk
        read = self._text.read(max(_CHUNK, len(kept)))
        self._buffer, self._place = kept + read, 0
        return bool(read)

    def _refuse(self, what: str, place: int) -> None:
        before = self._buffer[:place]
        line = self._line + before.count("\n")
        start = before.rfind("\n")
        column = place - start if start >= 0 else self._column + place
        raise DataError(f"{self._name}:{line}: not JSON ({what} at column {column})")
