"""What this plugin offers; nothing heavy is imported to say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.hookspecs import hookimpl

from .commands import group

if TYPE_CHECKING:
    import click


@hookimpl
def safebench_commands(cli: click.Group) -> None:
    """Add the command group `feedback`."""
    cli.add_command(group)
