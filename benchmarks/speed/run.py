"""Measure how fast verdict trees are recorded: ``python benchmarks/speed/run.py``.

One process, the same prompts, every method in turn; see README.md beside this file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported

import click

_RESULTS = Path(__file__).parents[1] / "results"


@click.command()
@click.option(
    "--model",
    type=click.Choice(["embedded", "random-8b", "random-tiny"]),
    default="embedded",
    show_default=True,
    help="The guard inside the plugin, or a random Llama built on the device.",
)
@click.option("--device", default="", help="cpu or cuda; the 8b needs cuda.")
@click.option("--prompts", default=128, show_default=True, help="For fast methods.")
@click.option("--slow", default=12, show_default=True, help="For the first way.")
@click.option("--rounds", default=3, show_default=True, help="Medians are over them.")
@click.option(
    "--prefix-tokens",
    default=(256, 0),
    multiple=True,
    show_default=True,
    help="Tokens that all prompts share; 0: those of the guard's own prompt.",
)
@click.option(
    "--nodes",
    default=("7-9", "11-20", "own"),
    multiple=True,
    show_default=True,
    help="Mean nodes a tree at eps 0.01: LOW-HIGH, or the model's own.",
)
@click.option("--methods", default="abcde", show_default=True, help="Which to run.")
@click.option("--batch-tokens", default=0, help="Rows x longest prompt, of the engine.")
@click.option("--plain-batch", default=0, help="Rows of a batched generate.")
@click.option("--precision", is_flag=True, help="Compare float32 and bfloat16 instead.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file.")
def main(**options: Any) -> None:
    """Compare this engine with one call a node, batched generate and vLLM."""
    from guardspeed.measure import compare_all, compare_precision  # noqa: PLC0415 - --help stays light

    compare = compare_precision if options["precision"] else compare_all
    compare(options, _RESULTS)


if __name__ == "__main__":
    main()
