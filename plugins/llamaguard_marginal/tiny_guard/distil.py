"""Train an embedded guard from the one before and measure it, by one command.

``python plugins/llamaguard_marginal/tiny_guard/distil.py WORK --data-root DATA`` fits
the teachers of ``benchmarks/registered/embedded_guard.yaml``, trains the students from
the first guard's weights, stores their mean as WORK/tiny-guard-2, and compares it with
TF-IDF that learnt the same rows, on rows that neither saw. The third guard is made by
``--registration benchmarks/registered/embedded_guard_3.yaml``. Interrupted, the same
command goes on. The measured rows are judged only where the registration is committed
as it is.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGIN = HERE.parent
REPOSITORY = PLUGIN.parents[1]


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder of what is done so far")
    parser.add_argument(
        "--data-root", type=Path, default=os.environ.get("SAFEBENCH_DATA")
    )
    parser.add_argument(
        "--teachers",
        type=Path,
        help="WORK of another registration with the same texts and teachers: "
        "they are not fitted again",
    )
    parser.add_argument("--encoder", type=Path, help="MiniLM folder, if not installed")
    parser.add_argument(
        "--registration",
        type=Path,
        default=REPOSITORY / "benchmarks/registered/embedded_guard.yaml",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="result, if not of the registration's name in benchmarks/results",
    )
    parser.add_argument(
        "--until",
        choices=("teachers", "students", "comparison"),
        default="comparison",
        help="stop after this step",
    )
    parser.add_argument(
        "--install",
        action="store_true",
        help="put the guard into the package, where the registration says to ship it",
    )
    return parser


def main() -> None:
    """Parse the command line, then train; the heavy imports wait for the first."""
    options = arguments().parse_args()
    if options.data_root is None or not Path(options.data_root).is_dir():
        sys.exit("no data: name its folder by --data-root or SAFEBENCH_DATA")
    if options.out is None:
        name = f"{options.registration.stem}.json"
        options.out = REPOSITORY / "benchmarks/results" / name
    # Run as a file, the script finds its package beside it.
    sys.path.insert(0, str(PLUGIN))
    from tiny_guard.second.build import run  # noqa: PLC0415 - `--help` stays light

    try:
        run(options)
    except FileNotFoundError as error:
        missing = f"no such file: {error.filename}" if error.filename else error
        sys.exit(f"error: {missing}")
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
