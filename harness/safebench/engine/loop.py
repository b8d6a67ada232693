"""The level loop itself: one forward pass a level, for all prompts that are live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .forest import Forest, Nodes, roots
from .rules import Step
from .session import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .digest import Digester
    from .draft import Draft
    from .growth import Growth
    from .intake import Intake
    from .protocol import NextTokenModel
    from .rules import Rule
    from .session import Numbered

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What grows trees: a model, and what reads and digests its logits.

    Roots have the script `first` and, with `opener`, may be followed by a level.
    """

    model: NextTokenModel
    growth: Growth
    digester: Digester
    draft: Draft | None
    first: int
    opener: bool


class LevelLoop:
    """Grows the trees of prompts as an intake lets them in, until no node is worth it.

    `failed` are prompts whose logits were no numbers. With `keep`, the session still
    holds all prompts in the end.
    """

    def __init__(self, tools: Tools, rule: Rule, *, keep: bool) -> None:
        self.forest = Forest()
        self.failed: set[int] = set()
        self.session: Numbered | None = None
        self._tools = tools
        self._rule = rule
        self._keep = keep

    def run(self, prompts: Sequence[Sequence[int]], intake: Intake) -> Numbered:
        """Grow the trees of all prompts (one at least); return their session."""
        chosen = roots(0, self._tools.first, opener=False)
        while True:
            chosen = self._refill(chosen, prompts, intake)
            assert self.session is not None
            if not len(chosen):
                return self.session
            wave, held = _due(self.session, chosen)
            logits, handles = self.session.expand(wave.row, wave.handle, wave.token)
            chosen = self._visit(wave, logits, handles, held)

    def _refill(
        self, chosen: Nodes, prompts: Sequence[Sequence[int]], intake: Intake
    ) -> Nodes:
        """Return the nodes to expand, with those of prompts that are let in."""
        while intake.waiting and intake.due(live := np.unique(chosen.row)):
            admitted = intake.admit(live)
            if not admitted:
                break
            chosen = self._admit([prompts[i] for i in admitted], chosen)
        return chosen

    def _admit(self, prompts: Sequence[Sequence[int]], held: Nodes) -> Nodes:
        """Prefill prompts in one pass; return `held` and their nodes to expand."""
        tools, forest = self._tools, self.forest
        session = open_session(tools.model, prompts, tools.draft)
        logits = session.roots()
        if self.session is None:
            self.session = session
        else:
            self.session.join(session)
        numbers = {"row": forest.batch, "index": forest.size}
        start = roots(len(prompts), tools.first, opener=tools.opener, **numbers)
        forest.admit(start)
        self._rule.admit(start)
        return self._visit(start, logits, np.full(len(start), -1), held)

    def _visit(self, wave: Nodes, logits: Array, handles: Array, held: Nodes) -> Nodes:
        """Store what the logits (Q, V) of nodes say; return `held` and what they ask.

        Prompts of the wave of which nothing is left to expand are let go of.
        """
        growth, session = self._tools.growth, self.session
        expected = (len(wave), len(growth.vocabulary))
        assert logits.shape == expected, f"logits {logits.shape}, not {expected}"
        found = self._tools.digester(logits, growth.ask(wave), growth.vocabulary)
        self.failed.update(wave.row[found.bad].tolist())
        children, left = growth.read(wave, handles, found, self.forest.size)
        self.forest.add(wave, left, found, children)
        chosen = Nodes.join([held, self._rule.choose(Step(wave, left, children))])
        chosen = chosen.take(~np.isin(chosen.row, sorted(self.failed)))
        done = np.setdiff1d(wave.row, chosen.row)
        if len(done) and session is not None and not self._keep:
            session.drop(done)
        return chosen


def _due(session: Numbered, nodes: Nodes) -> tuple[Nodes, Nodes]:
    """Return the nodes to expand now, and those to hold back.

    As long as the draft knows some, all that need a forward pass wait for one.
    """
    nodes = nodes.take(np.argsort(nodes.row, kind="stable"))
    known = session.knows(nodes.handle, nodes.token)
    due = known if known.any() else ~known
    return nodes.take(due), nodes.take(~due)
