"""How commands end: exit codes, interruptions, and what `--debug` shows."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, NoReturn

import click

from safebench.console import discard_output, echo
from safebench.errors import SafebenchError
from safebench.os_errors import SystemRefusalError, os_errors_as_messages
from safebench.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Python and this package need about 0.3 of the second after which people wonder
NOTICE_SECONDS = 0.5
# of the libraries of plugins, which are imported for what they can do
STARTING = "loading libraries ..."
INTERRUPTED = 128 + signal.SIGINT  # as shells report it
# what ends a command as Ctrl-C does: a scheduler that needs the machine, and a terminal
# that was closed
_ENDING_SIGNALS = ("SIGTERM", "SIGHUP")
_received: list[int] = []


def interrupted_code() -> int:
    """Return the exit code after an interruption: 128 + the signal that made it."""
    return 128 + _received[-1] if _received else INTERRUPTED


def interrupt_on_signals() -> None:
    """Let this process end on SIGTERM and SIGHUP as it does on Ctrl-C.

    Whoever started it may have it ignore them (nohup), and so it does then.
    """
    process = os.getpid()

    def interrupt(number: int, _: object) -> None:
        if os.getpid() != process:  # a worker that was forked: as if it had no handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        _received.append(number)
        raise KeyboardInterrupt

    for name in _ENDING_SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, interrupt)


def exit_after(
    work: Callable[[], int], *, debug: bool, interrupt_notice: str = ""
) -> NoReturn:
    """Exit with the code that `work` returns, or with 130 after Ctrl-C.

    A `SafebenchError` goes on to `run_command_line`, which prints its message.
    """
    try:
        with debug_tracebacks(debug):
            code = work()
    except KeyboardInterrupt:
        if interrupt_notice:
            echo(f"\n{interrupt_notice}", err=True)
        code = interrupted_code()
    sys.exit(code)


@contextmanager
def debug_tracebacks(debug: bool) -> Iterator[None]:
    """With `--debug`, let a mistake out with its traceback instead of its message."""
    try:
        with os_errors_as_messages():
            yield
    except SafebenchError as error:
        if not debug:
            raise
        raise RuntimeError("--debug: the mistake above, with its traceback") from error


def run_command_line(work: Callable[[], object]) -> NoReturn:
    """Run what click makes of the command line, and exit with the code of its end.

    Each mistake is printed as one message, with 2; Ctrl-C ends with 130 wherever it
    comes. `work` returns a code if click ended it (as after ``--help``).
    """
    try:
        with os_errors_as_messages():
            result = work()
    except click.Abort:
        sys.exit(interrupted_code())
    except SystemRefusalError as error:
        _flush()
        _show(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    if result == INTERRUPTED:  # of a plugin's command, which knows of Ctrl-C alone
        result = interrupted_code()
    sys.exit(result if isinstance(result, int) else 0)


def _flush() -> None:
    """Have nothing left that Python would write as it ends, where it cannot."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        discard_output()


def _show(error: click.ClickException) -> None:
    """Print a mistake, and the usage that it is about, as click does."""
    if type(error).show not in (click.ClickException.show, click.UsageError.show):
        error.show()  # it has a form of its own, such as the help
        return
    context = getattr(error, "ctx", None)
    if context is not None:
        usage = context.get_usage()
        names = context.command.get_help_option_names(context)
        hint = f"Try '{context.command_path} {max(names, key=len)}' for help."
        echo(f"{usage}\n{hint}\n" if names else usage, err=True)
    echo(f"Error: {redact_text(error.format_message())}", err=True)


def open_missing_streams() -> None:
    """Open what our caller closed of standard input, output and error.

    The next file that is opened would take the place of a closed one, and whatever a
    library prints would end up in it. Output that was closed still cannot be written
    to, and says so; messages go nowhere.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        # the lowest free number is the one that is missing
        mode = os.O_WRONLY if name == "stderr" else os.O_RDONLY
        opened = os.open(os.devnull, mode)
        if opened != number:
            os.close(opened)
        elif name != "stdin":  # its readers say that it is closed
            stream = open(opened, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as we run
            setattr(sys, name, stream)


def print_errors(errors: Iterable[SafebenchError], *, debug: bool) -> None:
    """Say what failed while the rest went on; with `debug`, show the tracebacks."""
    from traceback import format_exception

    for error in errors:
        if debug:
            echo("".join(format_exception(error)), err=True)
        echo(f"error: {error.message}", err=True)


@contextmanager
def loading_notice(message: str, seconds: float = NOTICE_SECONDS) -> Iterator[None]:
    """Print a message at a terminal if the block takes longer than `seconds`."""
    timer = Timer(seconds, lambda: echo(message, err=True))
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
