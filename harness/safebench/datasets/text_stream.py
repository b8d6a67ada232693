"""Text of a file, decoded as it is read, with a hash of all its bytes."""

from __future__ import annotations

import codecs
import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from safebench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    Open = Callable[[], AbstractContextManager[BinaryIO]]

_CHUNK = 2**16  # bytes


class _Hashed(io.RawIOBase):
    """Bytes of a file, each added to a digest, if there is one."""

    def __init__(self, file: BinaryIO, digest: Any) -> None:
        self._file, self._digest = file, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        if self._digest is not None:
            self._digest.update(content)
        return len(content)


def hashed(file: BinaryIO, digest: Any) -> io.BufferedReader:
    """Return the bytes of an open file, each added to a digest, if there is one."""
    return io.BufferedReader(_Hashed(file, digest), _CHUNK)


def decoded(file: BinaryIO, encoding: str, digest: Any = None) -> io.TextIOWrapper:
    """Return the text of an open file, its line ends as they are."""
    return io.TextIOWrapper(hashed(file, digest), encoding, newline="")


@contextmanager
def utf8_or_error(open_file: Open, name: str, encoding: str) -> Iterator[None]:
    """Raise `DataError` with the line for bytes that cannot be decoded."""
    try:
        yield
    except UnicodeDecodeError:
        line = _undecodable_line(open_file, encoding)
        message = f"{name}:{line}: not UTF-8: save it as UTF-8"
        raise DataError(message) from None


def _undecodable_line(open_file: Open, encoding: str) -> int:
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with open_file() as file:
        while chunk := file.read(_CHUNK):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return line + error.object.count(b"\n", 0, error.start)
            line += chunk.count(b"\n")
    return line
