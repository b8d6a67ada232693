"""Measure on one GPU what a CPU cannot tell: ``benchmarks/gpu.sh``.

What is imported here is of Python's own library, so that ``--help``, and the line that
says which packages are missing, need nothing else.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before PyTorch is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from gpusteps.checkout import ROOT, use_checkout
from gpusteps.packages import NEEDED, all_packages, missing, use_wheels
from gpusteps.steps import MOST_SECONDS, PLANNED, STEPS

RESULT = Path(__file__).parents[1] / "results" / "gpu.json"
NAMES = [step.name for step in STEPS]
WRONG_USE = 2


def main() -> int:
    """Run the command; return its exit status."""
    assert PLANNED < MOST_SECONDS, f"{PLANNED} s are planned"
    given = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="safebench-gpu-") as folder:
        return _measure(given, Path(folder))


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, NAMES))
    steps = "\n".join(f"  {s.name:{width}}  {s.budget:3g} s  {s.what}" for s in STEPS)
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu.sh",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure engine, memory, batches and training on one GPU of 80 GiB "
        f"or more,\nin at most {PLANNED:g} seconds. Nothing is downloaded: weights are "
        "random. The file is\nwritten after every step; one that fails or passes its "
        "budget is noted in it. Steps\nthat the file has of this machine, these "
        "versions and this code are not repeated.",
        epilog=f"steps, and the most that each may take:\n{steps}\n\n"
        "Example: benchmarks/gpu.sh --steps engine,digest --again",
    )
    parser.add_argument(
        "--dry",
        action="store_true",
        help="the same steps on a CPU, tiny, in seconds; no numbers",
    )
    parser.add_argument(
        "--steps", type=_steps, default=NAMES, metavar="A,B", help="which; all if left"
    )
    parser.add_argument(
        "--again", action="store_true", help="repeat what was measured, too"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="JSON file; else benchmarks/results/gpu.json, or a temporary one with "
        "--dry",
    )
    return parser


def _steps(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or (unknown := [name for name in names if name not in NAMES]):
        wrong = ", ".join(unknown) if names else "none"
        raise argparse.ArgumentTypeError(f"{wrong}; there is: {', '.join(NAMES)}")
    return names


def _measure(given: argparse.Namespace, folder: Path) -> int:
    """Run the steps that were asked for, with what is imported in a folder."""
    use_checkout(folder)
    wheels = Path(os.environ.get("WHEELS") or ROOT / "wheels")
    if missing(all_packages()):
        use_wheels(wheels, folder / "wheels", _say)
    if absent := missing(NEEDED.items()):
        _say(
            f"missing here: {', '.join(absent)}; their wheels for Python "
            f"{platform.python_version()} in {wheels} would work"
        )
        return WRONG_USE
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # of processes
    from gpusteps.run_steps import run_steps  # noqa: PLC0415 - imports the checkout
    from gpusteps.setup import Setup  # noqa: PLC0415 - as above

    path = given.out or (_temporary_file() if given.dry else RESULT)
    setup = Setup(dry=given.dry)
    missed = run_steps(given.steps, setup, path, print, again=given.again)
    if given.dry and not given.out:
        print(f"written to {path}")
    return 1 if missed else 0


def _temporary_file() -> Path:
    return Path(tempfile.mkdtemp(prefix="safebench-gpu-")) / "gpu.json"


def _say(line: str) -> None:
    print(f"gpu.sh: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
