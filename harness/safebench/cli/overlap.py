"""`overlap`: prompts that datasets share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from safebench.console import echo
from safebench.errors import OptionError

from . import flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.plugins import Plugins
    from safebench.records import Dataset

EPILOG = """\b
Examples:
  safebench overlap toxic_chat:train toxic_chat:test
  safebench overlap pack:core mine.jsonl
"""
TWO = 2  # datasets of which the shared texts themselves are shown


@click.command("overlap", epilog=EPILOG)
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...")
@click.option(
    "--show",
    type=click.IntRange(min=0),
    metavar="N",
    default=5,
    show_default=True,
    help="How many shared prompts of two datasets to print.",
)
@click.option(
    "--near",
    type=click.FloatRange(0, 1),
    metavar="SIMILARITY",
    default=0.8,
    show_default=True,
    help="Count prompts that are so similar, too (0.3 to 1); 0: exact ones alone.",
)
@flags.JSON.override(
    help="Print one JSON object; of more than two datasets, one a pair."
)
@flags.DATA_ROOT
@click.pass_obj
def command(
    plugins: Plugins,
    datasets: tuple[str, ...],
    show: int,
    near: float,
    as_json: bool,
    data_root: str | None,
) -> None:
    """Count the prompts that datasets share; of two, show some.

    DATASET is NAME[:CONFIG][:SPLIT], a file (.jsonl, .csv, .parquet, ...), a hub id, or
    a pack: every two of its sets are compared. Texts are compared after Unicode
    normalisation, exactly and by the sequences of characters in them; labels play no
    part.
    """
    from safebench.datasets import overlap
    from safebench.datasets.near_duplicates import MIN_SIMILARITY
    from safebench.sanitize import json_text

    if 0 < near < MIN_SIMILARITY:
        raise OptionError(f"--near: from {MIN_SIMILARITY:g} to 1, or 0; got {near:g}")
    sources, loaded = _load(plugins, datasets, data_root)
    pairs = overlap.pairwise_overlap(loaded, near or None, sources)
    if len(loaded) > TWO:
        if as_json:
            for record in overlap.pairs_to_json(pairs):
                echo(json_text(record))
        else:
            echo(overlap.pairs_to_text(pairs, near or None))
        return
    prompts = overlap.prompt_overlap(*loaded)
    conversations = overlap.conversation_overlap(*loaded)
    if as_json:
        shared: dict[str, Any] = {
            o.by: overlap.to_json(o, show) for o in (prompts, conversations)
        }
        (record,) = overlap.pairs_to_json(pairs)
        shared["near"] = record | {"similarity": near or None}
        echo(json_text(shared))
        return
    echo(overlap.to_text(prompts, show))
    echo(overlap.to_text(conversations, show=0))
    if near:
        echo(overlap.near_to_text(pairs[0], near))


def _load(
    plugins: Plugins, texts: Sequence[str], data_root: str | None
) -> tuple[list[object], list[Dataset]]:
    """Return where each dataset comes from (None: not known), and the datasets.

    Raises `OptionError` for less than two; sets of a pack that cannot be read are named
    and left out.
    """
    from safebench.datasets.loader import load_dataset
    from safebench.datasets.pack import expand_packs
    from safebench.datasets.resolve import resolve_dataset
    from safebench.errors import DataError

    sources: list[object] = []
    loaded: list[Dataset] = []
    requests = []
    for text, pack in expand_packs(texts):
        request = resolve_dataset(text, plugins, data_root=data_root)
        if pack is not None and request in requests:
            continue
        requests.append(request)
        try:
            dataset = load_dataset(request, say=lambda note: echo(note, err=True))
        except DataError as error:
            if pack is None:
                raise
            echo(f"left out {text} of pack {pack.name}: {error.message}", err=True)
            continue
        hub_id = request.spec.hub_id
        sources.append((hub_id, request.split) if hub_id else None)
        loaded.append(dataset)
    if len(loaded) < TWO:
        raise OptionError(
            f"overlap compares two or more datasets; {len(loaded)} can be read of "
            f"{', '.join(texts)}"
        )
    return sources, loaded
