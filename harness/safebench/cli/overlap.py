"""`overlap`: prompts that two datasets share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from safebench.console import echo

from . import flags

if TYPE_CHECKING:
    from safebench.plugins import Plugins


@click.command(
    "overlap", epilog="Example: safebench overlap toxic_chat:train toxic_chat:test"
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--show",
    type=click.IntRange(min=0),
    metavar="N",
    default=5,
    show_default=True,
    help="How many shared prompts to print.",
)
@flags.JSON.override(help="Print one JSON object.")
@flags.DATA_ROOT
@click.pass_obj
def command(
    plugins: Plugins, a: str, b: str, show: int, as_json: bool, data_root: str | None
) -> None:
    """Count the prompts that datasets A and B share, and show some.

    A and B are NAME[:CONFIG][:SPLIT], a file (.jsonl, .csv, .parquet, ...), or a hub
    id. Texts are compared after Unicode normalisation; labels play no part.
    """
    from safebench.datasets import overlap
    from safebench.datasets.loader import load_dataset
    from safebench.datasets.resolve import resolve_dataset
    from safebench.sanitize import json_text

    left, right = (
        load_dataset(resolve_dataset(text, plugins, data_root=data_root))
        for text in (a, b)
    )
    prompts = overlap.prompt_overlap(left, right)
    conversations = overlap.conversation_overlap(left, right)
    if as_json:
        shared = {o.by: overlap.to_json(o, show) for o in (prompts, conversations)}
        echo(json_text(shared))
        return
    echo(overlap.to_text(prompts, show))
    echo(overlap.to_text(conversations, show=0))
