"""Code of plugins is run here: what it raises is named, what it prints is set apart.

A plugin may raise anything, end the process, print, or change what the whole process
shares. None of that may reach the other parts of a run, or the output that scripts
read; so every call of a component stands in a ``with isolated(component):``.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from .errors import PluginError, SafebenchError
from .os_errors import refusal_message
from .redaction import redact_text
from .sanitize import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_REASON = 300  # characters: the rest is in the traceback that --debug shows


class Named(Protocol):
    """What can say, for a message, what it is and which plugin it came with."""

    @property
    def described(self) -> str:
        """For example: metric 'auroc' of plugin core (safebench 0.1.0)."""


@contextmanager
def isolated(component: Named, *, pass_os_errors: bool = False) -> Iterator[None]:
    """Run the code of a component: whatever it raises is one `PluginError`.

    That includes `SystemExit` and everything else but Ctrl-C, and a `SafebenchError`,
    which is already made for users. What the code prints goes to standard error. The
    current folder, warnings made errors, numpy's error state and the handler of Ctrl-C
    are afterwards as before. Where code reads or writes what the user names,
    `pass_os_errors` leaves what the system refuses to the command line.
    """
    state = _ProcessState()
    try:
        with stdout_to_stderr():
            yield
    except (KeyboardInterrupt, SafebenchError):
        raise
    except BaseException as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        if pass_os_errors and refusal_message(error) is not None:
            raise
        raise PluginError(f"{component.described}: {describe_error(error)}") from error
    finally:
        state.restore()


@contextmanager
def isolated_loading() -> Iterator[None]:
    """Import or declare something: as `isolated`, but errors are left to the caller."""
    state = _ProcessState()
    try:
        with stdout_to_stderr():
            yield
    finally:
        state.restore()


def describe_error(error: BaseException) -> str:
    """Return an exception on one line: its class and what it says.

    What the surroundings refused reads as it does everywhere.
    """
    if isinstance(error, SystemExit):
        return f"SystemExit: called sys.exit({error.code!r})"
    try:
        refusal = refusal_message(error)
        if refusal is not None and getattr(error, "errno", 0) is not None:
            return printable(refusal)[:_MAX_REASON]
        message = printable(redact_text(str(error)))
    except Exception:  # noqa: BLE001 - a plugin's exception may have any __str__
        message = "its message cannot be read"
    return f"{type(error).__name__}: {message[:_MAX_REASON] or 'no message'}"


def _was_interrupted(error: BaseException | None) -> bool:
    """Tell whether Ctrl-C is behind an error that a plugin made of it."""
    seen = 0
    while error is not None and seen < 100:  # noqa: PLR2004 - a chain may be a circle
        if isinstance(error, KeyboardInterrupt):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


class _ProcessState:
    """What the whole process shares and a plugin may change, to be put back."""

    def __init__(self) -> None:
        self._folder = _current_folder()
        self._errors = [f for f in warnings.filters if f[0] == "error"]
        self._numpy_errors = _numpy_errors()
        self._on_interrupt = signal.getsignal(signal.SIGINT)

    def restore(self) -> None:
        """Put it back; what cannot be put back stays as it is."""
        if self._folder is not None and _current_folder() != self._folder:
            with suppress(OSError):
                os.chdir(self._folder)
        # libraries rightly silence warnings for good, so only "error" is taken back
        added = [
            f for f in warnings.filters if f[0] == "error" and f not in self._errors
        ]
        for entry in added:
            warnings.filters.remove(entry)  # type: ignore[attr-defined]
        errors = _numpy_errors()
        if errors is not None and errors != self._numpy_errors:
            sys.modules["numpy"].seterr(**(self._numpy_errors or _NUMPY_DEFAULTS))
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) != self._on_interrupt:
            with suppress(TypeError):  # one that was not set from Python
                signal.signal(signal.SIGINT, self._on_interrupt)


_NUMPY_DEFAULTS = {
    "divide": "warn",
    "over": "warn",
    "under": "ignore",
    "invalid": "warn",
}


def _numpy_errors() -> dict[str, str] | None:
    """Return numpy's error state; None while nobody has imported it."""
    geterr = getattr(sys.modules.get("numpy"), "geterr", None)
    return None if geterr is None else dict(geterr())


def _current_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib costs more, and this runs often
    except OSError:  # deleted
        return None


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send to standard error what is printed, by C code and subprocesses, too.

    Threads may be inside at once: the first one in turns the output, the last one out
    turns it back.
    """
    _turned.enter()
    try:
        yield
    finally:
        _turned.leave()


class _TurnedOutput:
    """Standard output while code of plugins runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._stdout: Any = None
        self._saved_descriptor: int | None = None

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            self._stdout = sys.stdout
            _flush(self._stdout)
            self._saved_descriptor = _turn_descriptor(self._stdout)
            sys.stdout = _StderrStream()

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside:
                return
            if self._saved_descriptor is not None:
                _flush(self._stdout)  # what was printed to sys.__stdout__
                os.dup2(self._saved_descriptor, 1)
                os.close(self._saved_descriptor)
            sys.stdout, self._stdout = self._stdout, None


_turned = _TurnedOutput()


def _turn_descriptor(stdout: Any) -> int | None:
    """Let descriptor 1 lead where 2 leads; return a copy of what it was.

    None, and nothing is changed, where standard output is not descriptor 1: closed, or
    replaced by a test.
    """
    try:
        if stdout.fileno() != 1 or sys.stderr.fileno() != 2:  # noqa: PLR2004
            return None
        saved = os.dup(1)
        os.dup2(2, 1)
    except (AttributeError, OSError, ValueError):
        return None
    return saved


def _flush(stream: Any) -> None:
    with suppress(AttributeError, OSError, ValueError):
        stream.flush()


class _StderrStream(io.TextIOBase):
    """Writes to whatever standard error is; closing it closes nothing."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of standard error."""
        return getattr(sys.stderr, "encoding", None) or "utf-8"

    @property
    def buffer(self) -> Any:
        """The bytes below: ``sys.stdout.buffer.write(...)``."""
        return sys.stderr.buffer

    def write(self, text: str) -> int:
        """Write text; nowhere if standard error is closed."""
        with suppress(AttributeError, OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush standard error."""
        _flush(sys.stderr)

    def writable(self) -> bool:
        """Say yes: a stream for output."""
        return True

    def isatty(self) -> bool:
        """Tell whether standard error is a terminal."""
        return bool(sys.stderr is not None and sys.stderr.isatty())

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        return sys.stderr.fileno()

    def close(self) -> None:
        """Do nothing: a plugin that closes its output must not close ours."""
