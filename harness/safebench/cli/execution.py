"""How commands end: exit codes, interruptions, and what `--debug` shows."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from safebench.console import discard_output, echo
from safebench.errors import SafebenchError
from safebench.os_errors import SystemRefusalError, os_errors_as_messages
from safebench.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


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
        code = INTERRUPTED
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
        sys.exit(INTERRUPTED)
    except SystemRefusalError as error:
        _flush()
        _show(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
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
