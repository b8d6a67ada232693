"""Stop rules that expand the likeliest open nodes first, until enough is known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .forest import Nodes
from .ledger import Ledger
from .rules import rank_by_row, required

if TYPE_CHECKING:
    from .rules import Limits, Step

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """Grow trees best-first, `width` nodes a prompt and wave, up to `max_nodes`."""

    width: int = 16

    @property
    def meta(self) -> dict[str, Any]:
        """The rule and its parameters, as JSON values."""
        return {"rule": "max_nodes", **asdict(self)}

    def reached(self, ledger: Ledger) -> Array:
        """Say of each prompt whether enough is known, (B,); once true, always true."""
        return np.zeros(len(ledger.gap), dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class UntilGap(Until):
    """Stop where the open mass, and with it every bound's width, is at most `delta`."""

    delta: float = 0.01

    @property
    def meta(self) -> dict[str, Any]:
        """The rule and its parameters, as JSON values."""
        return {"rule": "gap", **asdict(self)}

    def reached(self, ledger: Ledger) -> Array:
        """Say of each prompt whether its gap is small enough."""
        small: Array = ledger.gap <= self.delta
        return small


@dataclass(frozen=True, slots=True, kw_only=True)
class UntilCertain(Until):
    """Stop where no label's and no positive level's bounds straddle `tau`.

    Such trees support decisions at that threshold and nothing else: elsewhere their
    bounds may be as wide as they like.
    """

    tau: float = 0.5

    @property
    def meta(self) -> dict[str, Any]:
        """The rule and its parameters, as JSON values."""
        return {"rule": "certify", **asdict(self), "decisions_only_at": self.tau}

    def reached(self, ledger: Ledger) -> Array:
        """Say of each prompt whether all its decisions are certain."""
        unsure = (ledger.lower < self.tau) & (self.tau <= ledger.upper)
        return np.logical_not(unsure.any(axis=1))


class BestFirst:
    """Expand open nodes by probability, however long ago they were found.

    Greedy nodes and scripted ones are expanded at once, and besides.
    """

    def __init__(self, until: Until, limits: Limits) -> None:
        self._until = until
        self._limits = limits
        self._ledger = Ledger(limits.table)
        self._spent = np.empty(0, dtype=np.int64)
        self._frontier: Nodes | None = None

    def admit(self, start: Nodes) -> None:
        """Take note of more trees, by their roots."""
        self._ledger.admit(start)
        self._spent = np.concatenate([self._spent, np.zeros_like(start.row)])

    def choose(self, step: Step) -> Nodes:
        """Return the likeliest nodes of the frontier, with those that are required."""
        self._ledger.record(step)
        nodes = self._limits.alive(step.children)
        asked = required(nodes)
        open_ = self._limits.table.open[nodes.state]
        likely = np.exp(nodes.path) >= self._limits.eps
        found = nodes.take(~asked & open_ & likely)
        chosen = Nodes.join([nodes.take(asked), self._pick(found, step.wave.row)])
        return chosen.take(np.argsort(chosen.row, kind="stable"))

    def _pick(self, found: Nodes, turn: Array) -> Nodes:
        """Add `found` to the frontier; take the next nodes of the prompts `turn`."""
        nodes = Nodes.join([self._frontier, found]) if self._frontier else found
        nodes = nodes.take(~self._until.reached(self._ledger)[nodes.row])
        room = np.zeros(len(self._spent))
        room[turn] = np.minimum(
            self._until.width, self._limits.most - self._spent[turn]
        )
        picked = rank_by_row(nodes.row, -nodes.path) < room[nodes.row]
        self._spent += np.bincount(nodes.row[picked], minlength=len(self._spent))
        self._frontier = nodes.take(~picked)
        return nodes.take(picked)
