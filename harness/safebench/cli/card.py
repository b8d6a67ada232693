"""`card DIR`: write the model card of what was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safebench.console import echo

from . import flags
from .execution import exit_after

if TYPE_CHECKING:
    from safebench.plugins import Plugins

EPILOG = """\b
Example: safebench card models/bert_ensemble-minilm-wildguardmix
"""


@click.command("card", epilog=EPILOG)
@click.argument("folder", metavar="DIR")
@click.option(
    "--name",
    metavar="NAME",
    help="What the card calls it [default: the folder's name].",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace a card that was edited outside of its marks, or is another's.",
)
@flags.DEBUG
@click.pass_obj
def command(
    plugins: Plugins, folder: str, name: str | None, overwrite: bool, debug: bool
) -> None:
    """Write README.md into DIR: what was trained, on what, how well, with what limits.

    Trainings write it themselves; this makes it anew, for example after an evaluation.
    Text of yours between "yours: begin" and "yours: end" stays.
    """

    def work() -> int:
        from safebench.training.artifact import Artifact
        from safebench.training.card import write_card

        artifact = Artifact(folder).describe(plugins)
        called = name or artifact.folder.resolve().name
        path = write_card(artifact, plugins, called, overwrite=overwrite)
        echo(f"card: {path}")
        return 0

    exit_after(work, debug=debug)
