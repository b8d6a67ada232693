"""How often the alarm of `safebench drift` rings, on simulated streams.

    python benchmarks/decision/drift_streams.py benchmarks/results/drift.json

A guard scores by a beta distribution, or by one of six values, and fails on some lines.
A repetition draws a reference and a stream, without drift or with one of several from
the first line on, and watches all lines. Of each cell: how often the alarm rang, and
the median line; and how often the test of Kolmogorov and Smirnov was below 5 % where
it was looked at after every 50 lines, which it does not allow for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import ks_2samp

from safebench import __version__
from safebench.decision.drift import find_alarms
from safebench.decision.score_stream import ScoreStream
from safebench.files import write_json

ALPHA, EVERY = 0.05, 50


class Cell(NamedTuple):
    """What is drawn: scores, their number, the share of failed lines, the drift."""

    name: str
    n_reference: int
    n_lines: int = 1000
    discrete: bool = False
    failing: float = 0.02
    shift: float = 0.0
    spread: float = 1.0
    fails: float = 1.0


CELLS = (
    Cell("no drift, 20 scores", 20),
    Cell("no drift, 200 scores", 200),
    Cell("no drift, 1,000 scores", 1000),
    Cell("no drift, six values", 200, discrete=True),
    Cell("no drift, a third fails", 200, failing=0.33),
    Cell("no drift, none fails", 200, failing=0.0),
    Cell("scores 0.2 deviations higher", 400, shift=0.2),
    Cell("scores 0.5 deviations higher", 400, shift=0.5),
    Cell("scores 1 deviation lower", 400, shift=-1.0),
    Cell("a spread 1.5 times as wide", 400, spread=1.5),
    Cell("three times as many lines fail", 400, fails=3.0),
    Cell("scores 0.5 higher, six values", 400, discrete=True, shift=0.5),
)


def draw(rng: np.random.Generator, cell: Cell, n: int, *, drifts: bool) -> ScoreStream:
    """Return `n` lines, with the drift of the cell or without."""
    shift, spread, more = (
        (cell.shift, cell.spread, cell.fails) if drifts else (0.0, 1.0, 1.0)
    )
    logits = rng.normal(-1.0 + shift, spread, size=n)
    score = 1 / (1 + np.exp(-logits))
    if cell.discrete:
        score = np.floor(6 * score) / 5
    score = np.where(rng.random(n) < cell.failing * more, np.nan, score)
    return ScoreStream(name="simulated", score=score, lines=np.arange(1, n + 1))


def first_significant(reference: ScoreStream, stream: ScoreStream) -> bool:
    """Tell whether the KS test is below 5 % at one of many looks."""
    return any(
        len(known := stream.score[:n][~stream.missing[:n]]) > 0
        and ks_2samp(reference.known, known, method="asymp").pvalue < ALPHA
        for n in range(EVERY, stream.n + 1, EVERY)
    )


def measure(cell: Cell, reps: int, seed: int, looks: int) -> dict[str, Any]:
    """Return how often, and when, the alarm rang; KS in the first `looks` streams."""
    pairs = []
    for rep in range(reps):
        rng = np.random.default_rng([seed, rep])
        reference = draw(rng, cell, cell.n_reference, drifts=False)
        pairs.append((reference, draw(rng, cell, cell.n_lines, drifts=True)))
    alarms = find_alarms(pairs, ALPHA, range(reps))
    rang = [alarm.line for alarm in alarms if alarm.line is not None]
    significant = sum(first_significant(*pair) for pair in pairs[:looks])
    return {
        "name": cell.name,
        "reference": cell.n_reference,
        "lines": cell.n_lines,
        "reps": reps,
        "rang": len(rang) / reps,
        "median_line": float(np.median(rang)) if rang else None,
        "ks_many_looks": significant / looks if looks else None,
    }


def main() -> None:
    """Measure every cell and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--reps", type=int, default=1000)
    parser.add_argument("--looks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cells = [measure(cell, args.reps, args.seed, args.looks) for cell in CELLS]
    content = {"version": __version__, "alpha": ALPHA, "seed": args.seed}
    write_json(args.result, {**content, "ks_every": EVERY, "cells": cells})


if __name__ == "__main__":
    main()
