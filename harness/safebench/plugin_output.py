"""What code of plugins prints: it goes to standard error, and steers no terminal.

A plugin may print the texts that it judges, and a text may hold escape sequences. So
while such code runs, whatever Python prints, and what C code or a child process writes
to descriptor 1, is written to standard error with those characters spelt out. What they
write to descriptor 2 themselves is let through: a crash leaves its last words there.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .sanitize import escape_prints

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK_BYTES = 1 << 16


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to standard error what is printed, by C code and subprocesses, too.

    Threads may be inside at once: the first one in turns the output, the last one out
    turns it back, and both streams are then open again where they led before.
    """
    _turned.enter()
    try:
        yield
    finally:
        _turned.leave()


def end_output() -> None:
    """Let standard output be complete: what is printed from now on is set apart.

    Exit handlers of libraries print, after the JSON that a script reads.
    """
    try:
        sys.stdout.flush()
    except (AttributeError, OSError, ValueError):  # told when Python ends
        return
    _turned.enter()


class _TurnedOutput:
    """Standard output and error while code of plugins runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self.process = 0
        self._stdout: Any = None
        self._stderr: Any = None
        self._descriptors: _TurnedDescriptors | None = None

    def enter(self) -> None:
        with self._lock:
            self.inside += 1
            if self.inside > 1:
                return
            self.process = os.getpid()
            self._stdout, self._stderr = sys.stdout, sys.stderr
            _flush(self._stdout)
            self._descriptors = _turn_descriptors(self._stdout, self._stderr)
            sys.stdout = sys.stderr = _PrintStream(self._stderr)

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1
            if self.inside:
                return
            if self._descriptors is not None:
                _flush(self._stdout)  # what was printed to sys.__stdout__
                self._descriptors.restore()
                self._descriptors = None
            sys.stdout, sys.stderr = self._stdout, self._stderr
            self._stdout = self._stderr = None


_turned = _TurnedOutput()


def plugin_code_runs() -> bool:
    """Tell whether this process, and no copy of it, is inside `stdout_to_stderr`."""
    return _turned.inside > 0 and _turned.process == os.getpid()


def unfiltered(stream: Any) -> Any:
    """Return the stream below that of `stdout_to_stderr`, for our own drawings."""
    return stream.below if isinstance(stream, _PrintStream) else stream


def filter_prints_again() -> None:
    """Stand before what has replaced the streams while code of plugins runs.

    A bar that a plugin starts shows above itself what is printed.
    """
    if _turned.inside and not isinstance(sys.stderr, _PrintStream):
        sys.stdout = sys.stderr = _PrintStream(sys.stderr)


class _TurnedDescriptors:
    """Descriptor 1 leads to the sieve; 1 and 2 are put back, were they closed or not.

    The next file that is opened takes the place of a descriptor that was closed, and
    messages would be written into it.
    """

    def __init__(self) -> None:
        self._stdout, self._stderr = os.dup(1), os.dup(2)
        os.dup2(_sieve().writer, 1)

    def restore(self) -> None:
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        os.dup2(self._stdout, 1)
        os.close(self._stdout)
        _sieve().drain()


def _turn_descriptors(stdout: Any, stderr: Any) -> _TurnedDescriptors | None:
    """Turn the descriptors below the streams.

    None, and nothing is changed, where they are not 1 and 2: closed, or replaced by a
    test.
    """
    try:
        if stdout.fileno() != 1 or stderr.fileno() != 2:  # noqa: PLR2004
            return None
        return _TurnedDescriptors()
    except (AttributeError, OSError, ValueError):
        return None


class _Sieve:
    """A pipe: what is written to it is written to descriptor 2 without what steers.

    One for the whole process, since a child that a plugin started may outlive the call
    that started it. A thread reads, so that nobody waits for a pipe that is full.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        # somewhere else than descriptor 2, which a plugin may close
        self._target = os.dup(2)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lock = threading.Lock()
        self.process = os.getpid()
        threading.Thread(target=self._pump, daemon=True).start()

    def drain(self) -> None:
        """Write what has been written to the pipe by now."""
        while self._pass_on(0.0):
            pass

    def _pump(self) -> None:
        while True:
            # waits outside of the lock: drain() must not wait for the next print
            select.select([self._reader], [], [])
            self._pass_on(0.0)

    def _pass_on(self, timeout: float) -> bool:
        """Write one block, if there is one."""
        with self._lock:
            if not select.select([self._reader], [], [], timeout)[0]:
                return False
            text = self._decoder.decode(os.read(self._reader, _BLOCK_BYTES))
            with suppress(OSError):  # prints that nobody can see are lost
                text = escape_prints(text, terminal=os.isatty(self._target))
                _write_all(self._target, text.encode())
            return True


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


_the_sieve: _Sieve | None = None


def _sieve() -> _Sieve:
    """Return the pipe of this process; a fork has its parent's without the thread."""
    global _the_sieve  # noqa: PLW0603 - made when it is first needed
    if _the_sieve is None or _the_sieve.process != os.getpid():
        _the_sieve = _Sieve()
    return _the_sieve


def _flush(stream: Any) -> None:
    with suppress(AttributeError, OSError, ValueError):
        stream.flush()


class _PrintStream(io.TextIOBase):
    """Writes to standard error what steers no terminal; closing it closes nothing."""

    def __init__(self, stderr: Any) -> None:
        super().__init__()
        self.below = stderr

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of standard error."""
        return getattr(self.below, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """How standard error writes what its encoding lacks."""
        return getattr(self.below, "errors", None) or "backslashreplace"

    @property
    def buffer(self) -> _PrintBytes:
        """The bytes below: ``sys.stdout.buffer.write(...)``."""
        return _PrintBytes(self)

    def write(self, text: str) -> int:
        """Write text; nowhere if standard error is closed."""
        if not isinstance(text, str):
            raise TypeError(f"write() takes a str, not a {type(text).__name__}")
        with suppress(AttributeError, OSError, ValueError):
            self.below.write(escape_prints(text, terminal=self.isatty()))
        return len(text)

    def flush(self) -> None:
        """Flush standard error."""
        _flush(self.below)

    def writable(self) -> bool:
        """Say yes: a stream for output."""
        return True

    def isatty(self) -> bool:
        """Tell whether standard error is a terminal: bars are drawn there."""
        with suppress(AttributeError, ValueError):
            return bool(self.below.isatty())
        return False

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        if self.below is None:
            raise io.UnsupportedOperation("standard error is closed")
        return int(self.below.fileno())

    def close(self) -> None:
        """Do nothing: a plugin that closes its output must not close ours."""


class _PrintBytes(io.RawIOBase):
    """The bytes of a `_PrintStream`."""

    def __init__(self, stream: _PrintStream) -> None:
        super().__init__()
        self._stream = stream

    def write(self, content: Any) -> int:
        """Write bytes as the text that they are in UTF-8."""
        content = bytes(content)
        self._stream.write(content.decode("utf-8", "replace"))
        return len(content)

    def flush(self) -> None:
        """Flush standard error."""
        self._stream.flush()

    def writable(self) -> bool:
        """Say yes: a stream for output."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        return self._stream.fileno()

    def close(self) -> None:
        """Do nothing, as the stream above."""
