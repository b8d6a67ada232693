"""Train the embedded tiny guard: corpus, tokenizer, teacher, student, results, card."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGIN = HERE.parent
ARTIFACT = PLUGIN / "src" / "safebench_llamaguard_marginal" / "tiny_guard"
STARTER = PLUGIN.parents[1] / "harness/safebench/datasets/data/starter.jsonl"


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the public data sets")
    parser.add_argument("--out", type=Path, default=ARTIFACT, help="artifact folder")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--encoder", type=Path, help="MiniLM folder (optional teacher)")
    parser.add_argument("--starter", type=Path, default=STARTER)
    parser.add_argument("--cache", type=Path, help="folder for sentence vectors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--long-steps", type=int, default=350, help="second stage")
    parser.add_argument("--more-steps", type=int, default=1100, help="third stage")
    parser.add_argument("--vocabulary", type=int, default=5120)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--variants", type=int, default=30_000, help="soft-label texts")
    parser.add_argument("--limit", type=int, default=200, help="prompt tokens a row")
    parser.add_argument("--long-limit", type=int, default=320, help="later stages")
    return parser


def log(text: str) -> None:
    """One progress line with the time of day, on the error stream."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stderr.flush()


def main() -> None:
    """Parse the command line, then train; the heavy imports wait for the first."""
    options = arguments().parse_args()
    # Run as a file, the script finds its package beside it.
    sys.path.insert(0, str(PLUGIN))
    from tiny_guard.build import build  # noqa: PLC0415 - `--help` stays light

    results = build(options, log)
    text = json.dumps(results, indent=2) + "\n"
    options.results.write_text(text, encoding="utf-8")
    log(f"results in {options.results.name}, artifact in {options.out.name}")


if __name__ == "__main__":
    main()
