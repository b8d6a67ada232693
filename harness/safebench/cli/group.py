"""The group of all commands: help by purpose, and the nearest name for a wrong one."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from safebench.errors import did_you_mean
from safebench.os_errors import (
    NO_CURRENT_FOLDER,
    SystemRefusalError,
    current_folder_exists,
)

from .execution import run_command_line

HELP_SECTIONS = {
    "Run and compare": ("run", "leaderboard", "compare", "analyze"),
    "Ask": ("score", "serve"),
    "Train": ("train",),
    "What there is": ("list", "list-plugins", "matrix", "overlap", "doctor"),
}
PLUGIN_SECTION = "Of plugins"


class SuggestingGroup(click.Group):
    """A group that answers a mistyped command with the nearest one."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run the command line; on its own, exit with the code of `cli.execution`."""
        work = partial(super().main, *args, standalone_mode=False, **extra)
        return run_command_line(work) if standalone_mode else work()

    def invoke(self, ctx: click.Context) -> None:
        """Run a command; what it returns is no exit code, whatever a plugin thinks."""
        if not current_folder_exists():  # libraries of models end the process there
            raise SystemRefusalError(NO_CURRENT_FOLDER)
        super().invoke(ctx)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands by what they are for, their summaries whole."""
        names = self.list_commands(ctx)
        # one width for all sections, so that their summaries stand in one column
        width = max(map(len, names), default=0)
        ours = {name for section in HELP_SECTIONS.values() for name in section}
        of_plugins = tuple(name for name in names if name not in ours)
        for title, section in {**HELP_SECTIONS, PLUGIN_SECTION: of_plugins}.items():
            rows = [
                (name.ljust(width), command.get_short_help_str(limit=200))
                for name in section
                if (command := self.get_command(ctx, name))
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or fail with exit code 2 and a suggestion."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            names = self.list_commands(ctx)
            listed = ", ".join(names)
            ctx.fail(
                f"no command {name!r}{did_you_mean(name, names)}\n  there is: {listed}"
            )
        return super().resolve_command(ctx, args)
