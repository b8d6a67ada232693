"""The arguments of both measurements: where cells are kept, which, how often."""

from __future__ import annotations

import argparse
from pathlib import Path


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Return the arguments: work, reps, seed, cell, metric and collect."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("work", type=Path, help="folder of one file a cell")
    parser.add_argument("--reps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cell", action="append", help="measure these alone")
    parser.add_argument("--metric", action="append", help="measure these alone")
    parser.add_argument("--collect", type=Path, metavar="RESULT")
    return parser.parse_args()
