"""How often 95 % intervals hold the truth: simulation, one file a cell.

    python benchmarks/coverage/measure.py WORK --reps 1000
    python benchmarks/coverage/measure.py WORK --collect RESULT

A cell is a number of samples, a prevalence, and whether samples come in groups. A cell
that WORK has with as many repetitions and the same seed is not measured again, so that
the command can be stopped and repeated; with ``--metric NAME`` that metric alone is
measured, and joins the others of the cell. Intervals are those that runs write; RESULT
is ``benchmarks/results/coverage.json``.
"""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from arguments import parse_arguments
from simulation import Cell, draw, truth

from safebench import __version__
from safebench.files import write_json
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

SIZES, PREVALENCES = (50, 200, 1000), (0.5, 0.05, 0.01)
CELLS = [
    Cell(n, prevalence, clustered)
    for clustered, n, prevalence in product((False, True), SIZES, PREVALENCES)
]
# without a value where there are few samples of a class, and then without an interval
LIMITED = ("tpr_at_fpr_0.01", "fpr_at_tpr_0.95", "pauroc_fpr_0.1")
VALUED = [spec for spec in SPECS if spec.name in LIMITED]


def measure(cell: Cell, reps: int, seed: int, names: Collection[str]) -> dict[str, Any]:
    """Draw `reps` datasets and count, by metric, how often the interval held.

    `given` intervals, of which `noted` carry a note; `covered` and `covered_noted` held
    the truth; `below` and `above` lie on that side of it. `refused`: no interval, and
    `why` the last time; an undefined value has none, either.
    """
    known = truth(
        cell.prevalence, clustered=cell.clustered, overconfident=cell.overconfident
    )
    rng = np.random.default_rng([seed, *map(ord, cell.name)])
    specs = [spec for spec in SPECS if spec.name in names]
    counts: dict[str, dict[str, Any]] = {}
    widths: dict[str, list[float]] = {}
    for _ in range(reps):
        outcome = draw(rng, cell)
        values = {spec.name: value.value for spec, value in compute(outcome, VALUED)}
        for name, interval in sampling_intervals(outcome, specs).items():
            if name not in known or values.get(name, 0.0) is None:
                continue
            count = counts.setdefault(name, dict.fromkeys(COUNTS, 0) | {"why": ""})
            if interval.low is None or interval.high is None:
                count["refused"] += 1
                count["why"] = interval.method
                continue
            held = bool(interval.low <= known[name] <= interval.high)
            count["given"] += 1
            count["covered"] += held
            count["noted"] += bool(interval.note)
            count["covered_noted"] += held and bool(interval.note)
            count["below"] += bool(interval.high < known[name])
            count["above"] += bool(interval.low > known[name])
            widths.setdefault(name, []).append(interval.high - interval.low)
    return {
        "cell": cell.name,
        "n": cell.n,
        "prevalence": cell.prevalence,
        "clustered": cell.clustered,
        "reps": reps,
        "seed": seed,
        "version": __version__,
        "metrics": {
            name: {
                "truth": round(known[name], 5),
                **count,
                "median_width": round(float(np.median(widths.get(name, [0.0]))), 4),
            }
            for name, count in counts.items()
        },
    }


COUNTS = ("given", "covered", "noted", "covered_noted", "below", "above", "refused")


def read_cell(path: Path, reps: int, seed: int, names: Collection[str]) -> Any:
    """Return a cell and which of the metrics it holds, measured as asked."""
    cell = json.loads(path.read_text()) if path.exists() else {}
    if cell.get("seed") != seed:
        return {}, set()
    counts = cell["metrics"].items()
    of_each = {name: count.get("reps", cell["reps"]) for name, count in counts}
    return cell, {name for name in names if of_each.get(name) == reps}


def joined(cell: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return a cell with metrics that were measured later, and how often."""
    added = {
        name: count | ({} if after["reps"] == cell["reps"] else {"reps": after["reps"]})
        for name, count in after["metrics"].items()
    }
    metrics = cell["metrics"] | added
    order = [spec.name for spec in SPECS if spec.name in metrics]
    return cell | {"metrics": {name: metrics[name] for name in order}}


def main() -> None:
    """Measure the cells that are missing, or collect those that are there."""
    asked = parse_arguments(__doc__)
    names = asked.metric or [spec.name for spec in SPECS]
    for cell in CELLS if asked.collect is None else []:
        path = asked.work / f"{cell.name}.json"
        if asked.cell and cell.name not in asked.cell:
            continue
        before, done = read_cell(path, asked.reps, asked.seed, names)
        if not done or (asked.metric and done < {*names}):
            after = measure(cell, asked.reps, asked.seed, names)
            write_json(
                path, joined(before, after) if asked.metric and before else after
            )
            print(f"{cell.name}: {asked.reps} repetitions", flush=True)
    if asked.collect is not None:
        paths = [asked.work / f"{cell.name}.json" for cell in CELLS]
        cells = [json.loads(path.read_text()) for path in paths if path.exists()]
        kept = json.loads(asked.collect.read_text()) if asked.collect.exists() else {}
        write_json(asked.collect, kept | {"intervals": cells})


if __name__ == "__main__":
    main()
