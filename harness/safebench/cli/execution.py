"""How commands end: exit codes, interruptions, and what `--debug` shows."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import click

from safebench.errors import SafebenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def exit_after(
    work: Callable[[], int], *, debug: bool, interrupt_notice: str = ""
) -> NoReturn:
    """Exit with the code that `work` returns, or with 130 after Ctrl-C.

    A `SafebenchError` goes on to click, which prints its message and exits with 2.
    """
    try:
        with debug_tracebacks(debug):
            code = work()
    except KeyboardInterrupt:
        if interrupt_notice:
            click.echo(f"\n{interrupt_notice}", err=True)
        code = INTERRUPTED
    sys.exit(code)


@contextmanager
def debug_tracebacks(debug: bool) -> Iterator[None]:
    """With `--debug`, let a mistake out with its traceback instead of its message."""
    try:
        yield
    except SafebenchError as error:
        if not debug:
            raise
        raise RuntimeError("--debug: the mistake above, with its traceback") from error
