"""The terminal: what it can show, which process may write to it, and rich output.

Everything that draws gets `RenderOptions`, so that a test, a pipe and a terminal take
the same way and nothing looks at the real screen behind its caller's back.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

DECIMALS = 3
_PIPE_WIDTH = 80  # of output that goes to a file or a pipe
_MIN_WIDTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """How to draw: width in characters (None: no limit), styles, decimals.

    `styles` allows bold (a terminal), `colour` colours too. `encoding` is what the
    text will be written in.
    """

    width: int | None = None
    styles: bool = False
    colour: bool = False
    decimals: int = DECIMALS
    encoding: str = "utf-8"

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
    text = replace_unencodable(render(options), options.encoding)
    # None lets click decide: it strips styles where output is no terminal
    click.echo(text, color=options.styles or None)


def replace_unencodable(text: str, encoding: str) -> str:
    """Return text that can be written, with ``?`` for what the encoding lacks."""
    return text.encode(encoding, errors="replace").decode(encoding)
