"""What thresholds promise, on simulated splits: rates of new samples, and intervals.

    python benchmarks/decision/promises.py benchmarks/results/promises.json --reps 1000

A guard scores negatives by N(0, 1.09) and positives by N(1.5, 1.09), so that the rate
of a threshold is known exactly. A repetition draws a calibration and a test part of 200
prompts each (300 in groups of 1 to 4, whose scores go together), chooses a threshold on
the first, and asks for its true rate, and whether the interval measured on the second
holds it. Of each cell: the mean rate, how often it is above the budget, and in how many
of 100 repetitions each interval held.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm

from safebench import __version__
from safebench.decision.prevalence import ALERTS, MISSED, PRECISION, at_prevalence
from safebench.decision.risk_control import control
from safebench.decision.thresholds import Rule, ScoredSamples, choose
from safebench.errors import DataError
from safebench.files import write_json
from safebench.metrics.arrays import metric_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIFT, SPREAD, NOISE = 1.5, 1.09**0.5, 0.3
POSITIVE, PREVALENCE = 0.5, 0.01
SIZE = {1: 200, 4: 120}  # groups, by their largest size


def draw(rng: np.random.Generator, largest: int) -> ScoredSamples:
    """Return samples in groups of 1 to `largest`, a group being of one class."""
    n = SIZE[largest]
    group = np.repeat(np.arange(n), rng.integers(1, largest + 1, size=n))
    y = (rng.random(n) < POSITIVE)[group]
    score = rng.normal(size=n)[group] + NOISE * rng.normal(size=len(group)) + SHIFT * y
    return ScoredSamples(y, score, list(map(str, group)))


def true_rates(threshold: float) -> dict[str, float]:
    """Return the rates of a threshold in the population."""
    fpr = float(norm.sf(threshold / SPREAD))
    recall = float(norm.sf((threshold - SHIFT) / SPREAD))
    alerts = PREVALENCE * recall + (1 - PREVALENCE) * fpr
    return {
        "fpr": fpr,
        "recall": recall,
        ALERTS: 1e6 * alerts,
        PRECISION: PREVALENCE * recall / alerts,
        MISSED: 1e6 * PREVALENCE * (1 - recall),
    }


def held(
    samples: ScoredSamples, threshold: float, truth: Mapping[str, float]
) -> dict[str, bool | None]:
    """Tell which intervals of a test part hold the truth; None: there is none."""
    flagged = samples.flagged(threshold)
    intervals = {
        name: metric_interval(
            name, samples.y, decision=flagged.astype(float), groups=samples.groups
        )
        for name in ("fpr", "recall")
    }
    intervals |= at_prevalence(samples.y, flagged, samples.groups, PREVALENCE)
    return {
        name: None
        if interval.low is None or interval.high is None
        else interval.low <= truth[name] <= interval.high
        for name, interval in intervals.items()
    }


def measure(
    method: str | None, rule: Rule, largest: int, reps: int, seed: int
) -> dict[str, Any]:
    """Return what a rule's rates are, and how often intervals held."""
    rng = np.random.default_rng([seed, largest, len(rule.name), len(method or "")])
    assert rule.value is not None
    recall = rule.name == "min_recall"
    budget = 1 - rule.value if recall else rule.value
    risks = []
    counts: dict[str, list[bool]] = {}
    refused = 0
    for _ in range(reps):
        known, test = draw(rng, largest), draw(rng, largest)
        try:
            if method is None:
                threshold = choose(rule, known).threshold
            else:
                threshold = control(method, rule, known).threshold
        except DataError:  # then nothing is deployed, and nothing goes wrong
            refused += 1
            risks.append(0.0)
            continue
        truth = true_rates(threshold)
        risks.append(1 - truth["recall"] if recall else truth["fpr"])
        for name, inside in held(test, threshold, truth).items():
            if inside is not None:
                counts.setdefault(name, []).append(inside)
    return {
        "method": method or "empirical",
        "rule": rule.name,
        "budget": round(budget, 6),
        "grouped": largest > 1,
        "reps": reps,
        "refused": refused,
        "mean_risk": round(float(np.mean(risks)), 5),
        "above_budget": round(float(np.mean(np.array(risks) > budget)), 4),
        "covered": {name: round(float(np.mean(c)), 4) for name, c in counts.items()},
    }


def main() -> None:
    """Measure every cell and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--reps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rules = [Rule(name="max_fpr", value=0.1), Rule(name="min_recall", value=0.9)]
    cells = [
        measure(method, rule, largest, args.reps, args.seed)
        for method, rule, largest in itertools.product(
            (None, "crc", "ltt"), rules, SIZE
        )
    ]
    content = {"version": __version__, "seed": args.seed, "cells": cells}
    write_json(args.result, content)


if __name__ == "__main__":
    main()
