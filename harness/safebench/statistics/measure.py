"""Which table and formula a metric's name stands for, and how its interval is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from safebench.errors import unknown

from . import formulas, tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from .draws import Draws
    from .tables import Table

    Array = np.ndarray[Any, np.dtype[Any]]

Kind = Literal["decision", "loss", "width", "mass", "curve", "risk"]

ENTRIES = 50_000  # of a table's rows times draws at once: what a cache holds
NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric: the table it reads, its formula, its kind of interval.

    `share` names the kinds of decisions that a share is of (0 tp, 1 fp, 2 tn, 3 fn).
    """

    kind: Kind
    formula: Callable[[Array], Array]
    method: str = "bca"
    share: tuple[int, ...] = ()


MEASURES: dict[str, Measure] = {
    "auroc": Measure("curve", formulas.auroc),
    "auprc": Measure("curve", formulas.auprc),
    # the threshold is picked again in each draw: no smooth function of the data
    "tpr_at_fpr_0.01": Measure("curve", formulas.tpr_at_fpr, "percentile"),
    "fpr_at_tpr_0.95": Measure("curve", formulas.fpr_at_tpr, "percentile"),
    "accuracy": Measure("decision", formulas.accuracy, share=(0, 1, 2, 3)),
    "balanced_accuracy": Measure("decision", formulas.balanced_accuracy),
    "precision": Measure("decision", formulas.precision, share=(0, 1)),
    "recall": Measure("decision", formulas.recall, share=(0, 3)),
    "f1": Measure("decision", formulas.f1, share=(0, 1, 3)),
    "mcc": Measure("decision", formulas.mcc),
    "fpr": Measure("decision", formulas.fpr, share=(1, 2)),
    "fnr": Measure("decision", formulas.fnr, share=(0, 3)),
    "brier": Measure("loss", formulas.mean),
    "nll": Measure("loss", formulas.second_mean),
    "ece": Measure("width", formulas.ece, "basic"),
    "ece_mass": Measure("mass", formulas.ece, "basic"),
    "mce": Measure("width", formulas.mce, "none"),
    "rmsce": Measure("width", formulas.rmsce, "basic"),
    "rmsce_debiased": Measure("width", formulas.rmsce_debiased, "none"),
    "aurc": Measure("risk", formulas.aurc),
    "e_aurc": Measure("risk", formulas.e_aurc),
} | {
    f"selective_accuracy_{coverage}": Measure(
        "risk", partial(formulas.selective_accuracy, coverage / 100), "percentile"
    )
    for coverage in (80, 90, 95)
}

CELLS: dict[str, Measure] = {  # of categories: kinds by levels, levels are categories
    "micro_f1": Measure("decision", formulas.micro(formulas.f1)),
    "macro_f1": Measure("decision", formulas.macro_f1),
    "hamming_loss": Measure("decision", formulas.micro(formulas.error)),
}


def measure(name: str) -> Measure:
    """Return the metric of that name; raises UnknownNameError with the nearest."""
    if name not in MEASURES:
        raise unknown("metric", name, MEASURES)
    return MEASURES[name]


def table(kind: Kind, index: Array, groups: int, y: Array, x: Array) -> Table:
    """Return the table of that kind; `x` (n,) are scores or, for decisions, bools."""
    if kind == "decision":
        return tables.decisions(index, groups, y, x.astype(bool))
    if kind == "loss":
        return tables.losses(index, groups, y, x)
    if kind in ("curve", "risk"):
        return tables.curve(index, groups, y, x)
    edges = tables.equal_mass(x) if kind == "mass" else tables.equal_width()
    return tables.bins(index, groups, y, x, edges)


def evaluate(given: Table, found: list[Measure], draws: Draws) -> Array:
    """Return each metric in each draw, (metrics, 1 + D + J)."""
    rows, columns = given.shape[0] * given.shape[1], draws.weights.shape[1]
    values = np.empty((len(found), columns))
    step = int(np.clip(ENTRIES // max(rows, draws.groups, 1), NARROWEST, columns))
    for first in range(0, columns, step):
        weights = draws.weights[:, first : first + step].astype(float)
        sums = given.sums(weights)
        for row, each in enumerate(found):
            values[row, first : first + step] = each.formula(sums)
    return values
