"""The command line. Imports nothing heavier than click at start-up."""

from __future__ import annotations

import click

from safebench.errors import nearest
from safebench.plugins import Plugins

from .analyze import command as analyze
from .compare import command as compare
from .doctor import command as doctor
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


SECTIONS = {
    "Run and compare": ("run", "leaderboard", "compare", "analyze"),
    "Ask": ("score", "serve"),
    "Train": ("train",),
    "What there is": ("list", "list-plugins", "matrix", "overlap", "doctor"),
}


class NearestGroup(click.Group):
    """A group that answers a mistyped command with the nearest one."""

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands by what they are for, their summaries whole."""
        every = self.list_commands(ctx)
        width = max(map(len, every), default=0)
        sorted_out = {name for names in SECTIONS.values() for name in names}
        others = (name for name in every if name not in sorted_out)
        for title, names in {**SECTIONS, "Of plugins": tuple(others)}.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            rows = [
                (name.ljust(width), command.get_short_help_str(limit=200))
                for name, command in found
                if command
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
            ctx.fail(f"no command {name!r}{nearest(name, names)}\n  there is: {listed}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=NearestGroup,
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
):
    cli.add_command(_command)
for _command in (list_plugins, list_command, matrix):
    cli.add_command(_command)


def main() -> None:
    """Load the plugins, report the broken ones, and run the command."""
    plugins = Plugins()
    plugins.add_commands(cli)
    for plugin in plugins.broken:
        click.secho(
            f"warning: plugin {plugin.name} ({plugin.project} {plugin.version}) "
            f"is disabled: {plugin.error}",
            fg="yellow",
            err=True,
        )
    cli(obj=plugins, prog_name="safebench")
