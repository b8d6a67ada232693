"""Register the command group `feedback`, without importing torch or numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench import hookimpl

from .commands import feedback_group

if TYPE_CHECKING:
    import click


@hookimpl
def safebench_commands(cli: click.Group) -> None:
    """Add the command group `feedback`."""
    cli.add_command(feedback_group)
