"""Messages between a run and its worker processes: pickled, each with its length.

Both ends are this package in processes of one user, started by the run itself: nobody
else can write to these pipes.
"""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any

_LENGTH = struct.Struct("<Q")


def write_frame(stream: IO[bytes], message: Any) -> None:
    """Write a message; raises `OSError` if nobody reads any more."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def unpack(frame: bytes) -> Any:
    """Return the message of a frame; raises what importing its classes raises."""
    return pickle.loads(frame)  # noqa: S301 - see above


def read_frame(stream: IO[bytes]) -> bytes:
    """Return the next message, still packed; raises `EOFError` at the stream's end.

    Also where it ends within a message: whoever wrote it was killed.
    """
    (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size))
    return _read(stream, length)


def _read(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content
