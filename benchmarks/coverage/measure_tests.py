"""How often `compare` sees a difference where there is none, one file a cell.

    python benchmarks/coverage/measure_tests.py WORK --reps 1000
    python benchmarks/coverage/measure_tests.py WORK --collect RESULT

Two guards that are equally good judge the same samples, and each test at 5 % should
reject in 5 % of the datasets at most. Files are as in ``measure.py``, whose results
``benchmarks/results/coverage.json`` holds, too; a cell is written after every 100
repetitions, and more of them are added to those that it has. With ``--metric NAME``
that metric alone is measured, and joins the others. A test draws 99 swaps: its p-value
is as exact as one of more, only coarser.
"""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from arguments import parse_arguments
from paired import PairCell, draw_pair

from safebench import __version__
from safebench.files import write_json
from safebench.metrics.catalog import SPECS
from safebench.metrics.intervals import can_compare
from safebench.metrics.paired import compare_outcomes
from safebench.metrics.paired_difference import SwapPlan
from safebench.statistics import shared_weights

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

SIZES, PREVALENCES = (50, 200, 1000), (0.5, 0.05, 0.01)
CELLS = [
    PairCell(n, prevalence, largest)
    for largest, n, prevalence in product((1, 9), SIZES, PREVALENCES)
]
# about 15 and 20 groups
CELLS += [PairCell(300, 0.5, 40), PairCell(1000, 0.5, 100)]
COMPARED = [spec for spec in SPECS if can_compare(spec)]
SWAPS = 99
ALPHA = 0.05
STEP = 100  # repetitions between two writings
SUMMED = ("given", "rejected", "refused")

Counts = dict[str, Any]


def measure(
    cell: PairCell, reps: int, seed: int, names: Collection[str], first: int = 0
) -> dict[str, Counts]:
    """Draw `reps` pairs and count, by metric, how often the test rejected.

    `given` tests, of which `rejected` say that one guard is better. `refused`: there
    were too few groups, and `why` the last time. `first` counts the pairs that were
    drawn before: others follow.
    """
    rng = np.random.default_rng([seed, *[first] * bool(first), *map(ord, cell.name)])
    counts: dict[str, Counts] = {}
    for repetition in range(first, first + reps):
        a, b = draw_pair(rng, cell)
        weights = shared_weights(a.y, a.groups, n_resamples=1)
        for spec in COMPARED:
            if spec.name not in names:
                continue
            count = counts.setdefault(
                spec.name, dict.fromkeys(SUMMED, 0) | {"why": "", "test": ""}
            )
            plan = SwapPlan(SWAPS, repetition, sides=False)
            pair = compare_outcomes(spec, a, b, weights, plan)
            if pair is None or pair.difference.p is None:
                count["refused"] += 1
                count["why"] = pair.difference.method if pair else "no input"
                continue
            count["given"] += 1
            count["rejected"] += pair.difference.p <= ALPHA
            count["test"] = pair.test
    return counts


def repetitions(stored: Counts) -> int:
    """Return how many pairs a metric was measured on."""
    return int(stored["given"] + stored["refused"])


def added(before: Counts | None, after: Counts) -> Counts:
    """Return the counts of one metric from both."""
    if before is None:
        return after
    sums = {name: before[name] + after[name] for name in SUMMED}
    words = {name: after[name] or before[name] for name in ("why", "test")}
    return sums | words


def continued(path: Path, cell: PairCell, reps: int, seed: int, names: Any) -> bool:
    """Measure the metrics of a cell that have fewest repetitions; False if none has.

    At most `STEP` are added, and written.
    """
    stored = json.loads(path.read_text()) if path.exists() else {}
    tests = stored["tests"] if stored.get("seed") == seed else {}
    done = {name: repetitions(tests[name]) if name in tests else 0 for name in names}
    first = min(done.values())
    if first >= reps:
        return False
    behind = [name for name, count in done.items() if count == first]
    more = [count for count in done.values() if count > first]
    size = min(STEP, min([reps, *more]) - first)
    counts = measure(cell, size, seed, behind, first)
    tests = tests | {name: added(tests.get(name), counts[name]) for name in behind}
    ordered = {spec.name: tests[spec.name] for spec in SPECS if spec.name in tests}
    about = {
        "cell": cell.name,
        "n": cell.n,
        "prevalence": cell.prevalence,
        "largest_group": cell.largest_group,
        "reps": max(map(repetitions, ordered.values())),
        "seed": seed,
        "version": __version__,
    }
    write_json(path, about | {"tests": ordered})
    return True


def main() -> None:
    """Measure the cells that are missing, or collect those that are there."""
    asked = parse_arguments(__doc__)
    names = asked.metric or [spec.name for spec in COMPARED]
    for cell in CELLS if asked.collect is None else []:
        path = asked.work / f"tests-{cell.name}.json"
        if asked.cell and cell.name not in asked.cell:
            continue
        while continued(path, cell, asked.reps, asked.seed, names):
            print(f"{cell.name}: {path}", flush=True)
    if asked.collect is not None:
        paths = [asked.work / f"tests-{cell.name}.json" for cell in CELLS]
        cells = [json.loads(path.read_text()) for path in paths if path.exists()]
        kept = json.loads(asked.collect.read_text()) if asked.collect.exists() else {}
        write_json(asked.collect, kept | {"tests": cells})


if __name__ == "__main__":
    main()
