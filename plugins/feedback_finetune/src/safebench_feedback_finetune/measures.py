"""How good decisions are on a set, and whether they differ from the base guard's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.statistics import (
    mcnemar,
    metric_difference,
    metric_interval,
    metric_intervals,
    shared_draws,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.statistics import Interval

    from .prompts import Prompt

    Array = np.ndarray[Any, np.dtype[Any]]

METRICS = ("accuracy", "precision", "recall", "f1", "auroc", "auprc", "fpr")
COMPARED = ("f1", "fpr", "recall", "auprc")
OF_SCORES = frozenset({"auprc"})


@dataclass(frozen=True, slots=True)
class MeasuredSet:
    """Prompts with a truth: a task on a dataset. `groups` are drawn whole."""

    name: str
    task: str
    prompts: list[Prompt]
    y: Array
    groups: list[str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Contender:
    """A guard that decides: a LoRA scale and a threshold under a name."""

    name: str
    alpha: float
    threshold: float
    threshold_from: str = "fixed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One contender minus another: an interval with p a metric, and exact McNemar.

    `only_first` counts the prompts on which the first alone is right.
    """

    metrics: dict[str, Interval]
    only_first: int
    only_second: int
    p: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        found = {name: plain(one) for name, one in self.metrics.items()}
        test = {
            "only_first_right": self.only_first,
            "only_second_right": self.only_second,
        }
        return found | {"mcnemar": test | {"p": self.p}}


def plain(one: Interval) -> dict[str, Any]:
    """Return an interval as plain values."""
    found = {"value": one.value, "low": one.low, "high": one.high, "method": one.method}
    return found | ({} if one.p is None else {"p": one.p})


def measure(
    found: MeasuredSet, scores: Array, decided: Array, draws: int
) -> dict[str, Interval]:
    """Return each metric with its 95 % interval; groups are drawn whole."""
    shared = shared_draws(found.y, found.groups, draws=draws)
    return metric_intervals(METRICS, found.y, scores, decided, shared)


def compare(
    found: MeasuredSet,
    first: tuple[Array, Array],
    second: tuple[Array, Array],
    draws: int,
) -> Difference:
    """Return the second minus the first; both are (scores, decisions)."""
    shared = shared_draws(found.y, found.groups, draws=draws)
    metrics = {}
    for name in COMPARED:
        of = 0 if name in OF_SCORES else 1
        metrics[name] = metric_difference(name, found.y, first[of], second[of], shared)
    test = mcnemar(found.y, first[1], second[1])
    return Difference(metrics, test.b10, test.b01, test.p)


@dataclass(frozen=True, slots=True)
class Prevention:
    """What stopping more prompts buys, on prompts that the base guard lets pass.

    `outputs` are the blocked responses to them, `prevented` those whose prompt is
    stopped now. `harmless` are the prompts without any, `lost` those stopped now.
    `let_through` counts prompts with a blocked response that the base guard stops, and
    this one does not.
    """

    outputs: int
    prevented: int
    share: Interval
    harmless: int
    lost: int
    let_through: int

    @property
    def price(self) -> float | None:
        """Harmless prompts lost for each blocked output that is prevented."""
        return self.lost / self.prevented if self.prevented else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        names = ("outputs", "prevented", "harmless", "lost", "let_through")
        found: dict[str, Any] = {name: getattr(self, name) for name in names}
        return found | {
            "share": plain(self.share),
            "harmless_lost_per_output_prevented": self.price,
        }


def prevention(
    prompts: Sequence[Prompt],
    groups: Sequence[str],
    base: Array,
    decided: Array,
    *,
    threshold: float,
    draws: int,
) -> Prevention:
    """Return what decisions (n,) do to the outputs that would be blocked."""
    blocked = np.asarray([sum(p >= threshold for p in one.p_out) for one in prompts])
    known = np.asarray([bool(one.p_out) for one in prompts], dtype=bool)
    passed = known & ~np.asarray(base, dtype=bool)
    slips = passed & (blocked > 0)
    rows = np.repeat(np.flatnonzero(slips), blocked[slips])
    stopped = np.asarray(decided, dtype=bool)
    share = metric_interval(
        "accuracy",
        np.ones(len(rows), dtype=bool),
        decision=stopped[rows],
        groups=[groups[row] for row in rows.tolist()],
        draws=draws,
    )
    calm = passed & (blocked == 0)
    return Prevention(
        outputs=len(rows),
        prevented=int(stopped[rows].sum()),
        share=share,
        harmless=int(calm.sum()),
        lost=int((calm & stopped).sum()),
        let_through=int((known & ~passed & (blocked > 0) & ~stopped).sum()),
    )
