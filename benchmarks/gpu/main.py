"""Measure on one GPU what a CPU cannot tell: ``benchmarks/gpu.sh``."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import click
from gpusteps.checkout import use_checkout
from gpusteps.run_steps import MACHINE, MOST_SECONDS, STEPS, run_steps
from gpusteps.setup import Setup

RESULT = Path(__file__).parents[1] / "results" / "gpu.json"
NAMES = [step.name for step in STEPS]
PLANNED = MACHINE.budget + sum(step.budget for step in STEPS)


def main() -> None:
    """Run the command in a folder that describes what is not installed."""
    assert PLANNED < MOST_SECONDS, f"{PLANNED} s are planned"
    with tempfile.TemporaryDirectory() as folder:
        use_checkout(Path(folder))
        command(prog_name="benchmarks/gpu.sh")


@click.command(
    epilog="Example: benchmarks/gpu.sh --steps engine,digest",
    help="Measure engine, memory, batches and training on one GPU of 80 GiB or more, "
    f"in at most {PLANNED:g} seconds. Nothing is downloaded: weights are random. The "
    "file is written after every step; a step that fails or passes its budget is noted "
    "in it, and steps that are not named stay as an earlier run on the same machine "
    "left them.",
)
@click.option(
    "--dry", is_flag=True, help="The same steps on a CPU, tiny, in seconds; no numbers."
)
@click.option("--steps", default=",".join(NAMES), show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file; else benchmarks/results/gpu.json, or a temporary one with --dry.",
)
def command(*, dry: bool, steps: str, out: Path | None) -> None:
    """Run the steps."""
    names = [name.strip() for name in steps.split(",") if name.strip()]
    if not names or (unknown := [name for name in names if name not in NAMES]):
        wrong = ", ".join(unknown) if names else "none"
        raise click.BadParameter(
            f"{wrong}; there is: {', '.join(NAMES)}", param_hint="--steps"
        )
    path = out or (_temporary_file() if dry else RESULT)
    missed = run_steps(names, Setup(dry=dry), path, click.echo)
    if dry and not out:
        click.echo(f"written to {path}")
    sys.exit(1 if missed else 0)


def _temporary_file() -> Path:
    return Path(tempfile.mkdtemp(prefix="safebench-gpu-")) / "gpu.json"


if __name__ == "__main__":
    main()
