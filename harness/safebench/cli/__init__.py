"""The command line: one module a command, and the group that holds them.

Every command starts by importing all of these modules, so they import nothing heavier
than click; what a command needs, it imports when it runs.
"""

from __future__ import annotations

import sys

import click

from safebench.console import echo
from safebench.plugins import SLOW_SECONDS, Plugin, Plugins

from .analyze import command as analyze
from .compare import command as compare
from .doctor import command as doctor
from .execution import INTERRUPTED, open_missing_streams
from .group import SuggestingGroup
from .leaderboard import command as leaderboard
from .listing import list_command, list_plugins, matrix
from .overlap import command as overlap
from .run import command as run
from .score import command as score
from .serve import command as serve
from .train import command as train

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
    leaderboard,
    compare,
    analyze,
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
    try:
        plugins = Plugins(on_slow=_warn_of_slow_plugin)
        plugins.add_commands(cli)
    except KeyboardInterrupt:  # while a slow plugin is imported
        sys.exit(INTERRUPTED)
    for plugin in plugins.broken:
        echo(
            f"warning: plugin {plugin.name} ({plugin.distribution} {plugin.version}) "
            f"is disabled: {plugin.error}",
            fg="yellow",
            err=True,
        )
    cli(obj=plugins, prog_name="safebench")
