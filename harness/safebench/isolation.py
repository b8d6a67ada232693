"""Code of plugins is run here: what it raises is named, what it prints is set apart.

A plugin may raise anything, end the process, print, or change what the whole process
shares. None of that may reach the other parts of a run, or the output that scripts
read; so every call of a component stands in a ``with isolated(component):``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from .errors import PluginError, SafebenchError
from .os_errors import refusal_message
from .plugin_output import plugin_code_runs, stdout_to_stderr
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
        called = "os._exit" if isinstance(error, _HardExit) else "sys.exit"
        return f"SystemExit: called {called}({error.code!r})"
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


_end_process = os._exit


def _raise_exit(status: int) -> NoReturn:
    """Stand for `os._exit`: where code of plugins called it, raise `SystemExit`.

    A plugin that ended the process with code 0 would look like one that had worked.
    """
    if not plugin_code_runs():  # also in a child of multiprocessing, which ends so
        _end_process(status)
    raise _HardExit(status)


class _HardExit(SystemExit):
    """What a call of `os._exit` is made: the message names what was called."""


def end_copies(process: int) -> None:
    """End here if this is a copy (`os.fork`) of `process`, which goes on alone.

    For loops over calls of one component: a copy that goes on would copy itself, too.
    """
    if os.getpid() != process:
        _end_process(1)


class _ProcessState:
    """What the whole process shares and a plugin may change, to be put back."""

    def __init__(self) -> None:
        self._process = os.getpid()
        os._exit = _raise_exit
        self._folder = _current_folder()
        self._errors = [f for f in warnings.filters if f[0] == "error"]
        self._numpy_errors = _numpy_errors()
        self._on_interrupt = signal.getsignal(signal.SIGINT)
        self._recursion_limit = sys.getrecursionlimit()
        self._torch_dtype = _torch_dtype()

    def restore(self) -> None:
        """Put it back; what cannot be put back stays as it is.

        A copy of the process (`os.fork`) ends here: it would go on with the same run.
        """
        end_copies(self._process)
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
        if sys.getrecursionlimit() < self._recursion_limit:
            sys.setrecursionlimit(self._recursion_limit)
        dtype = _torch_dtype()  # the next guard would compute in another one
        if dtype is not None and dtype != self._torch_dtype:
            torch = sys.modules["torch"]
            torch.set_default_dtype(self._torch_dtype or torch.float32)
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


def _torch_dtype() -> Any:
    """Return the type of torch's new tensors; None while nobody has imported it."""
    get = getattr(sys.modules.get("torch"), "get_default_dtype", None)
    return None if get is None else get()


def _current_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib costs more, and this runs often
    except OSError:  # deleted
        return None
