"""How often intervals of differences hold, and power is as stated, one file a cell.

    python benchmarks/coverage/measure_differences.py WORK --reps 1000
    python benchmarks/coverage/measure_differences.py WORK --collect RESULT

Of two guards that judge the same samples the second is better by a known amount. The
interval of the difference should hold the true one in 95 of 100 datasets, and the test
should find it as often as `safebench power` says of that difference and of data like
these. Files are as in ``measure_tests.py``.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from arguments import parse_arguments
from paired import PairCell, draw_pair

from safebench import __version__
from safebench.files import write_json
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute
from safebench.metrics.intervals import can_compare
from safebench.metrics.paired import compare_outcomes
from safebench.metrics.paired_difference import SwapPlan
from safebench.statistics import shared_weights

if TYPE_CHECKING:
    from collections.abc import Collection

# with how much further apart the classes are for the second guard
CELLS = {
    PairCell(50, 0.5): 1.2,
    PairCell(200, 0.5): 0.8,
    PairCell(200, 0.05): 1.5,
    PairCell(1000, 0.05): 0.8,
    PairCell(200, 0.5, 9): 1.2,
    PairCell(1000, 0.5, 9): 0.5,
    PairCell(1000, 0.05, 9): 1.2,
    PairCell(300, 0.5, 40): 1.5,
}
# categories, pairs and severities are those of two guards that are equally good;
# errors of calibration are larger in few samples than in the population
NEEDS = {"score", "decision", "probability", "uncertainty"}
CHANCE = {"ece", "ece_mass", "mce", "rmsce", "rmsce_debiased"}
COMPARED = [
    spec
    for spec in SPECS
    if can_compare(spec) and spec.needs <= NEEDS and spec.name not in CHANCE
]
SWAPS = 199
ALPHA = 0.05
POPULATION, POPULATIONS = 300_000, 4
COUNTS = (
    *("given", "covered", "below", "above", "noted", "covered_noted"),
    *("rejected", "stated", "tested", "refused"),
)


@cache
def true_differences(cell: PairCell) -> dict[str, float]:
    """Return every metric of the second guard less that of the first."""
    rng = np.random.default_rng(0)
    population = PairCell(POPULATION, cell.prevalence, cell.largest_group)
    sums = dict.fromkeys((spec.name for spec in COMPARED), 0.0)
    for _ in range(POPULATIONS):
        pair = draw_pair(rng, population, better=CELLS[cell])
        of_a, of_b = (compute(side, COMPARED) for side in pair)
        for (spec, a), (_, b) in zip(of_a, of_b, strict=True):
            assert a.value is not None
            assert b.value is not None
            sums[spec.name] += (b.value - a.value) / POPULATIONS
    return sums


def measure(
    cell: PairCell, reps: int, seed: int, names: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Draw `reps` pairs and count, by metric.

    `covered` of `given` intervals held the true difference, `below` and `above` lie on
    that side of it. `rejected` of `given` tests found the second guard better, `stated`
    sums what `power` says of that difference, over the `tested` ones for which it says
    anything. `refused`: there was no test.
    """
    rng = np.random.default_rng([seed, *map(ord, cell.name)])
    truth = true_differences(cell)
    specs = [spec for spec in COMPARED if spec.name in names]
    counts = {
        spec.name: {"truth": round(truth[spec.name], 5)} | dict.fromkeys(COUNTS, 0)
        for spec in specs
    }
    for repetition in range(reps):
        a, b = draw_pair(rng, cell, better=CELLS[cell])
        weights = shared_weights(a.y, a.groups, n_resamples=1)
        plan = SwapPlan(SWAPS, repetition)
        for spec in specs:
            count, true = counts[spec.name], truth[spec.name]
            pair = compare_outcomes(spec, a, b, weights, plan)
            if pair is None or pair.difference.p is None or pair.spread is None:
                count["refused"] += 1
                continue
            if not pair.spread.unknown:
                count["tested"] += 1
                count["rejected"] += int(pair.difference.p <= ALPHA)
                count["stated"] += float(
                    pair.spread.power(abs(true), pair.spread.units)
                )
            low, high = pair.difference.low, pair.difference.high
            if low is None or high is None:
                continue
            noted, held = bool(pair.difference.note), bool(low <= true <= high)
            count["given"] += 1
            count["covered"] += held
            count["below"] += bool(high < true)
            count["above"] += bool(low > true)
            count["noted"] += noted
            count["covered_noted"] += held and noted
    for count in counts.values():
        count["stated"] = round(count["stated"], 1)
    return counts


def main() -> None:
    """Measure the cells that are missing, or collect those that are there."""
    asked = parse_arguments(__doc__)
    names = asked.metric or [spec.name for spec in COMPARED]
    for cell in CELLS if asked.collect is None else []:
        path = asked.work / f"differences-{cell.name}.json"
        if asked.cell and cell.name not in asked.cell:
            continue
        stored = json.loads(path.read_text()) if path.exists() else {}
        about = {
            "cell": cell.name,
            "n": cell.n,
            "prevalence": cell.prevalence,
            "largest_group": cell.largest_group,
            "better": CELLS[cell],
            "reps": asked.reps,
            "seed": asked.seed,
        }
        same = {name: stored.get(name) for name in about} == about
        kept = stored["differences"] if same else {}
        missing = [name for name in names if name not in kept]
        if missing:
            kept = kept | measure(cell, asked.reps, asked.seed, missing)
            ordered = {
                spec.name: kept[spec.name] for spec in SPECS if spec.name in kept
            }
            write_json(path, about | {"version": __version__, "differences": ordered})
            print(f"{cell.name}: {asked.reps} repetitions", flush=True)
    if asked.collect is not None:
        paths = [asked.work / f"differences-{cell.name}.json" for cell in CELLS]
        cells = [json.loads(path.read_text()) for path in paths if path.exists()]
        kept = json.loads(asked.collect.read_text()) if asked.collect.exists() else {}
        write_json(asked.collect, kept | {"differences": cells})


if __name__ == "__main__":
    main()
