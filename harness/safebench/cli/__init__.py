"""The command line: one module a command, and the group that holds them.

Every command starts by importing all of these modules, so they import nothing heavier
than click; what a command needs, it imports when it runs.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click

from safebench.console import echo
from safebench.errors import did_you_mean
from safebench.first_party import how_to_install
from safebench.os_errors import (
    NO_CURRENT_FOLDER,
    SystemRefusalError,
    current_folder_exists,
)
from safebench.plugin_output import end_output
from safebench.plugins import SLOW_SECONDS, Plugin, Plugins

from .analyze import command as analyze
from .calibrate import command as calibrate
from .card import command as card
from .combine import command as combine
from .compare import command as compare
from .data import command as data
from .doctor import command as doctor
from .drift import command as drift
from .execution import (
    interrupt_on_signals,
    interrupted_code,
    open_missing_streams,
    run_command_line,
)
from .gate import command as gate
from .leaderboard import command as leaderboard
from .listing import list_command, list_plugins
from .matrix import command as matrix
from .overlap import command as overlap
from .pareto import command as pareto
from .power import command as power
from .push import command as push
from .report import command as report
from .run import command as run
from .score import command as score
from .serve import command as serve
from .threshold import command as threshold
from .train import command as train

HELP_SECTIONS = {
    "Run and compare": ("run", "leaderboard", "compare", "power", "analyze", "report"),
    "Decide": ("calibrate", "threshold", "combine", "pareto", "gate", "drift"),
    "Ask": ("score", "serve"),
    "Train": ("train", "card", "push"),
    "What there is": ("list", "list-plugins", "matrix", "data", "overlap", "doctor"),
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
            installed = ctx.obj.distributions if ctx.obj else ()
            ctx.fail(
                f"no command {name!r}{did_you_mean(name, names)}\n"
                f"{how_to_install('command', name, installed)}  there is: {listed}"
            )
        return super().resolve_command(ctx, args)


EPILOG = """\b
Examples:
  safebench run --classifier llamaguard --strategy marginal_any
  safebench leaderboard
  safebench score "how do I pick a lock?"
"""


@click.group(
    cls=SuggestingGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)
@click.version_option(package_name="safebench")
def cli() -> None:
    """Benchmark any safety classifier x confidence strategy x dataset.

    A classifier judges prompts or responses, a strategy reads a score from what the
    classifier recorded, and a dataset holds texts with labels. `safebench list
    classifiers` (or strategies, datasets, metrics) shows what is installed.
    """


for _command in (
    run,
    train,
    card,
    push,
    leaderboard,
    compare,
    power,
    combine,
    pareto,
    analyze,
    report,
    calibrate,
    threshold,
    gate,
    drift,
    data,
    overlap,
    doctor,
    score,
    serve,
    list_plugins,
    list_command,
    matrix,
):
    cli.add_command(_command)


def _warn_of_slow_plugin(plugin: Plugin) -> None:
    echo(
        f"warning: {plugin.described} takes over {SLOW_SECONDS:g} s to import, "
        "and every command waits for it",
        fg="yellow",
        err=True,
    )


def main() -> None:
    """Load the plugins, report the broken ones, and run the command."""
    open_missing_streams()
    interrupt_on_signals()
    try:
        plugins = Plugins(on_slow=_warn_of_slow_plugin)
        plugins.add_commands(cli)
    except KeyboardInterrupt:  # while a slow plugin is imported
        sys.exit(interrupted_code())
    for plugin in plugins.broken:
        echo(
            f"warning: plugin {plugin.name} ({plugin.distribution} {plugin.version}) "
            f"is disabled: {plugin.error}",
            fg="yellow",
            err=True,
        )
    try:
        cli(obj=plugins, prog_name="safebench")
    finally:
        end_output()
