"""The terminal: what it can show, which process may write to it, and rich output.

Everything that draws gets `RenderOptions`, so that a test, a pipe and a terminal take
the same way and nothing looks at the real screen behind its caller's back.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from .errors import OptionError
from .sanitize import escape_controls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

DECIMALS = 3
_PIPE_WIDTH = 80  # of output that goes to a file or a pipe
_MIN_WIDTH = 40
STANDARD_OUTPUT = "standard output"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """How to draw: width in characters (None: no limit), styles, decimals.

    `styles` allows bold (a terminal), `colour` colours too. `encoding` is what the
    text will be written in. `every_note`: footnotes are shown, and never counted.
    """

    width: int | None = None
    styles: bool = False
    colour: bool = False
    decimals: int = DECIMALS
    encoding: str = "utf-8"
    every_note: bool = False

    @property
    def unicode(self) -> bool:
        """Tell whether any character can be written."""
        return self.encoding.casefold().replace("_", "-").startswith("utf")


def terminal_capabilities() -> RenderOptions:
    """Return the options for standard output: its width, styles and encoding.

    ``COLUMNS`` sets the width, ``NO_COLOR`` (not empty) leaves bold but no colour, and
    ``TERM=dumb`` neither; files and pipes get plain text.
    """
    styles = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return RenderOptions(
        width=max(_MIN_WIDTH, shutil.get_terminal_size((_PIPE_WIDTH, 24)).columns),
        styles=styles,
        colour=styles and not os.environ.get("NO_COLOR"),
        encoding=sys.stdout.encoding or "utf-8",
    )


def is_main_process() -> bool:
    """Tell whether this process speaks and writes for its group.

    Launchers (torchrun, ``accelerate launch``) number their processes in ``RANK``, or
    at least in ``LOCAL_RANK``; without either there is one process.
    """
    number = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    return not number.isdigit() or int(number) == 0


def process_count() -> int:
    """Return how many processes a launcher started; 1 without one.

    Of an environment that `check_process_group` has passed.
    """
    return int(os.environ.get("WORLD_SIZE") or 1)


def check_process_group(purpose: str = "train") -> None:
    """Raise `OptionError` where a launcher's variables number no process of a group.

    `purpose` says what could be done in one process. A process that takes itself for a
    second one would wait for a first for ever.
    """
    numbers = {}
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        text = os.environ.get(name)
        if not text:
            # Libraries that train take an empty text for a number.
            os.environ.pop(name, None)
            continue
        least = int(name == "WORLD_SIZE")
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise OptionError(
                f"{name}={text!r} in the environment is no whole number from {least} "
                "up, as launchers (torchrun, accelerate launch) set it; unset it to "
                f"{purpose} in one process"
            )
        numbers[name] = int(text)
    size = numbers.pop("WORLD_SIZE", 1)
    for name, number in numbers.items():
        if number >= size:
            raise OptionError(
                f"{name}={number} in the environment, and there are {size} processes "
                "(WORLD_SIZE), numbered from 0: start them with torchrun or accelerate "
                f"launch, or unset {name} to {purpose} in one process"
            )


def render_rich(
    items: Iterable[RenderableType], options: RenderOptions, width: int | None = None
) -> str:
    """Return what rich draws of `items`, with ANSI styles only as `options` allow.

    Text is drawn as it is: no markup, emoji code or highlighting in a name of a model
    or a data set is obeyed. Lines end without spaces, the text without a line feed.
    """
    from rich.console import Console

    memory = io.BytesIO()
    # rich reads the encoding of its file to decide whether it may draw lines
    with io.TextIOWrapper(memory, encoding=options.encoding, errors="replace") as file:
        console = Console(
            file=file,
            width=width or options.width,
            force_terminal=options.styles,
            color_system="standard" if options.styles else None,
            no_color=not options.colour,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        for item in items:
            console.print(item)
        file.flush()
        text = memory.getvalue().decode(options.encoding)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def echo_rendered(render: Callable[[RenderOptions], str]) -> None:
    """Print what `render` returns for this terminal on standard output."""
    options = terminal_capabilities()
    echo_styled(render(options), options)


def echo_styled(text: str, options: RenderOptions) -> None:
    """Print text that was drawn for `options`; sequences other than styles stay out."""
    text = escape_controls(text, keep_styles=options.styles)
    # None lets click decide: it strips styles where output is no terminal
    _write(replace_unencodable(text, options.encoding), color=options.styles or None)


def echo(
    message: str = "", *, err: bool = False, fg: str | None = None, nl: bool = True
) -> None:
    """Print lines in the colour `fg`, with `err` on standard error.

    All that people read is printed here: a name or a text of others may be part of it,
    so characters that steer are spelt out. Notes are lost with a standard error that
    cannot be written to; the work that they are about goes on.
    """
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = replace_unencodable(escape_controls(message), encoding)
    if fg is not None:
        text = click.style(text, fg=fg)
    if not err:
        _write(text, nl=nl)
        return
    with suppress(OSError):
        click.echo(text, err=True, nl=nl)


def echo_bytes(content: bytes) -> None:
    """Write what is no text on standard output, which must be no terminal."""
    _write(content, nl=False)


def _write(text: str | bytes, *, color: bool | None = None, nl: bool = True) -> None:
    """Write on standard output; an OSError names it, as that of a file does."""
    try:
        click.echo(text, color=color, nl=nl)
    except BrokenPipeError:  # its reader has seen enough
        discard_output()
        raise click.exceptions.Exit(1) from None
    except OSError as error:
        discard_output()
        raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from None


def discard_output() -> None:
    """Send standard output nowhere: Python flushes it once more when it ends."""
    # in a test it may be no file
    with suppress(OSError, ValueError, AttributeError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)


def replace_unencodable(text: str, encoding: str) -> str:
    """Return text that can be written, with ``?`` for what the encoding lacks."""
    return text.encode(encoding, errors="replace").decode(encoding)
