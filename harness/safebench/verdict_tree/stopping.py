"""Which nodes of a verdict tree are expanded next, and when enough is known.

The threshold rule expands level by level whatever is likely enough. The best-first rule
expands the likeliest nodes first, follows the bounds while trees grow, and leaves a
tree alone once its stopping rule is satisfied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from .bounds import NodeColumns, leaves, remainders
from .forced_tokens import NO_CONTINUATION
from .tree import GREEDY, Nodes

if TYPE_CHECKING:
    from safebench.typing import Array

    from .automaton import Automaton
    from .bounds import Partition
    from .grammar import Grammar


class ExpansionStep(NamedTuple):
    """A wave of Q nodes with the children that it got.

    `remainders` (Q, 3) are the probabilities, given the node, of stop, closed and rest.
    """

    wave: Nodes
    remainders: Array
    children: Nodes


class ExpansionRule(Protocol):
    """Selects what to expand next. It counts nodes: every search needs its own."""

    def add_roots(self, roots: Nodes) -> None:
        """Start to count for more trees, given their roots."""

    def select(self, step: ExpansionStep) -> Nodes:
        """Return the nodes to expand after `step`, by ascending row."""


class TreeLimits(NamedTuple):
    """The limits of every tree: depth, least probability, number of optional nodes.

    Optional nodes are those that are neither greedy nor forced.
    """

    automaton: Automaton
    max_tokens: int
    eps: float
    max_nodes: int | None

    @property
    def node_limit(self) -> float:
        """How many optional nodes a tree may have."""
        return np.inf if self.max_nodes is None else self.max_nodes

    def expandable(self, nodes: Nodes) -> Nodes:
        """Return the nodes that have not ended and may still get a token."""
        return nodes.select(~nodes.ended & (nodes.depth < self.max_tokens))


class ThresholdRule:
    """Expands nodes of probability `eps` or more, at most `max_nodes` a prompt.

    Greedy and forced nodes are expanded besides.
    """

    def __init__(self, limits: TreeLimits) -> None:
        self._limits = limits
        self._spent = np.empty(0, dtype=np.int64)

    def add_roots(self, roots: Nodes) -> None:
        """Start to count for more trees, given their roots."""
        self._spent = np.concatenate([self._spent, np.zeros_like(roots.row)])

    def select(self, step: ExpansionStep) -> Nodes:
        """Return the children to expand."""
        limits, automaton = self._limits, self._limits.automaton
        nodes = limits.expandable(step.children)
        chosen, mass = is_required(nodes), np.exp(nodes.path_logp)
        # What follows `safe` cannot change the verdict, only whether it is well formed,
        # which does not matter in lenient parsing.
        useful = automaton.open[nodes.state] | (automaton.grammar.mode == "strict")
        free = np.nonzero(useful & ~chosen & (mass >= limits.eps))[0]
        # Where the limit cuts, the likeliest nodes are kept, and ties go by order.
        rank = rank_within_row(nodes.row[free], -mass[free])
        granted = free[rank < limits.node_limit - self._spent[nodes.row[free]]]
        self._spent += np.bincount(nodes.row[granted], minlength=len(self._spent))
        chosen[granted] = True
        return nodes.select(chosen)


class GreedyRule:
    """Expands the greedy path alone, for models that only say what they write.

    Alternatives to its tokens stay in the tree as leaves that are open.
    """

    def __init__(self, limits: TreeLimits) -> None:
        self._limits = limits

    def add_roots(self, roots: Nodes) -> None:
        """Do nothing: there is nothing to count."""

    def select(self, step: ExpansionStep) -> Nodes:
        """Return the greedy children."""
        nodes = self._limits.expandable(step.children)
        return nodes.select(nodes.has_flag(GREEDY))


def is_required(nodes: Nodes) -> Array:
    """Return which nodes are expanded whatever their probability."""
    required: Array = nodes.has_flag(GREEDY) | (nodes.continuation != NO_CONTINUATION)
    return required


def rank_within_row(row: Array, key: Array) -> Array:
    """Return the rank of each element among those of its row, by ascending key."""
    order = np.lexsort((key, row))
    ordered = row[order]
    begins = np.concatenate(([True], ordered[1:] != ordered[:-1]))[: len(row)]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(row)), 0))
    rank = np.empty(len(row), dtype=np.int64)
    rank[order] = np.arange(len(row)) - first
    return rank


class RunningBounds:
    """The bounds of B trees while they grow; `TreeBounds` has those of stored ones.

    `open_mass` is (B,). `lower` and `upper` (B, E) bound the probability of E events:
    every label, and a positive level by the reading of each task. An expansion changes
    a few parts of a partition, so that sums are kept and corrected.
    """

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._positive = positive_levels_by_task(automaton.grammar)
        n_events = len(automaton.grammar.all_labels) + len(self._positive)
        self.open_mass = np.zeros(0)
        self.lower = np.zeros((0, n_events))
        self._possible = np.zeros((0, n_events))

    def add_roots(self, roots: Nodes) -> None:
        """Add trees of a root alone, about which nothing is known."""
        zeros = np.zeros((len(roots), self.lower.shape[1]))
        self.open_mass = np.concatenate([self.open_mass, np.zeros(len(roots))])
        self.lower = np.concatenate([self.lower, zeros])
        self._possible = np.concatenate([self._possible, zeros])
        self._add(self._leaves(roots), 1.0)

    @property
    def upper(self) -> Array:
        """The upper bounds, (B, E)."""
        total: Array = self.lower + self._possible
        return total

    def update(self, step: ExpansionStep) -> None:
        """Replace the nodes of a wave by their children and remainders."""
        self._add(self._leaves(step.wave), -1.0)
        self._add(self._leaves(step.children), 1.0)
        nodes = _columns(step.wave)
        for parts in remainders(self._automaton, nodes, step.remainders):
            self._add(parts, 1.0)

    def _leaves(self, nodes: Nodes) -> Partition:
        return leaves(self._automaton, _columns(nodes), ~nodes.ended)

    def _add(self, parts: Partition, sign: float) -> None:
        mass = sign * parts.mass
        certain = self._certain_events(parts)
        possible = parts.open[:, None] & self._possible_events(parts) & ~certain
        np.add.at(self.open_mass, parts.sample, mass * parts.open)
        np.add.at(self.lower, parts.sample, mass[:, None] * certain)
        np.add.at(self._possible, parts.sample, mass[:, None] * possible)

    def _certain_events(self, parts: Partition) -> Array:
        """Return which events are certain in each of C parts, (C, E)."""
        positive = np.pad(self._positive, ((0, 0), (0, 1)))  # level -1 reads the last
        return np.hstack(
            [self._unpack_labels(parts.labels), positive[:, parts.level].T]
        )

    def _possible_events(self, parts: Partition) -> Array:
        """Return which events can still come about in each of C parts, (C, E)."""
        labels = self._unpack_labels(self._automaton.reachable_labels[parts.state])
        levels = self._automaton.reachable_levels[parts.state] @ self._positive.T
        return np.hstack([labels, levels & (parts.level < 0)[:, None]])

    def _unpack_labels(self, bits: Array) -> Array:
        label = np.arange(len(self._automaton.grammar.all_labels), dtype=np.uint64)
        unpacked: Array = (bits[:, None] >> label) & np.uint64(1) > 0
        return unpacked


def _columns(nodes: Nodes) -> NodeColumns:
    return NodeColumns(
        nodes.index,
        nodes.row,
        np.exp(nodes.path_logp),
        nodes.state,
        nodes.level,
        nodes.labels_mask,
    )


def positive_levels_by_task(grammar: Grammar) -> Array:
    """Return which levels are positive for the tasks, each different answer once.

    The result is (answers, levels) of bool.
    """
    # Tasks that read the levels alike have the same bounds: one row serves them.
    flags = [level.positive for level in grammar.levels]
    tasks = {task for p in flags if isinstance(p, Mapping) for task in p} or {""}
    return np.array(sorted({grammar.positive_mask(task) for task in tasks}))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule:
    """Never stop before `max_nodes`; expand `width` nodes a prompt and wave."""

    width: int = 16

    @property
    def meta(self) -> dict[str, Any]:
        """The rule and its parameters, as JSON values."""
        return {"rule": "max_nodes", **asdict(self)}

    def reached(self, bounds: RunningBounds) -> Array:
        """Return whether enough is known of each prompt, (B,).

        What has been reached stays reached: bounds only become tighter.
        """
        return np.zeros(len(bounds.open_mass), dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapStop(StoppingRule):
    """Stop where the open mass, and so the width of all bounds, is at most `delta`."""

    delta: float = 0.01

    @property
    def meta(self) -> dict[str, Any]:
        """The rule and its parameters, as JSON values."""
        return {"rule": "gap", **asdict(self)}

    def reached(self, bounds: RunningBounds) -> Array:
        """Return whether the open mass of each prompt is small enough."""
        small: Array = bounds.open_mass <= self.delta
        return small


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionStop(StoppingRule):
    """Stop where the threshold `tau` lies within no bounds of a label or level.

    Such trees certify the decisions at that threshold and support nothing else: their
    bounds may be wide on either side of it.
    """

    tau: float = 0.5

    @property
    def meta(self) -> dict[str, Any]:
        """The rule and its parameters, as JSON values."""
        return {"rule": "certify", **asdict(self), "decisions_only_at": self.tau}

    def reached(self, bounds: RunningBounds) -> Array:
        """Return whether all decisions about each prompt are certain."""
        undecided = (bounds.lower < self.tau) & (self.tau <= bounds.upper)
        return np.logical_not(undecided.any(axis=1))


def stopping_rule(
    name: str, *, width: int, delta: float, tau: float
) -> StoppingRule | None:
    """Return the rule of that name: max_nodes, gap (`delta`) or certify (`tau`).

    None for ``eps``: every node that is likely enough is expanded, in no special order.
    """
    if name == "gap":
        return GapStop(width=width, delta=delta)
    if name == "certify":
        return DecisionStop(width=width, tau=tau)
    return StoppingRule(width=width) if name == "max_nodes" else None


class BestFirstRule:
    """Expands the likeliest nodes of the frontier, until the stopping rule is reached.

    Greedy and forced nodes are expanded at once, and do not count.
    """

    def __init__(self, stopping_rule: StoppingRule, limits: TreeLimits) -> None:
        self._stopping_rule = stopping_rule
        self._limits = limits
        self._bounds = RunningBounds(limits.automaton)
        self._spent = np.empty(0, dtype=np.int64)
        self._frontier: Nodes | None = None

    def add_roots(self, roots: Nodes) -> None:
        """Start to count for more trees, given their roots."""
        self._bounds.add_roots(roots)
        self._spent = np.concatenate([self._spent, np.zeros_like(roots.row)])

    def select(self, step: ExpansionStep) -> Nodes:
        """Return the likeliest nodes of the frontier and the required children."""
        self._bounds.update(step)
        nodes = self._limits.expandable(step.children)
        # What strategies read by its place is there in every tree, however few nodes it
        # may have.
        required = is_required(nodes)
        open_ = self._limits.automaton.open[nodes.state]
        likely = np.exp(nodes.path_logp) >= self._limits.eps
        optional = nodes.select(~required & open_ & likely)
        chosen = Nodes.concat(
            [nodes.select(required), self._pick(optional, step.wave.row)]
        )
        return chosen.select(np.argsort(chosen.row, kind="stable"))

    def _pick(self, added: Nodes, rows: Array) -> Nodes:
        """Add nodes to the frontier, and take the next ones of the prompts `rows`."""
        nodes = Nodes.concat([self._frontier, added]) if self._frontier else added
        # Also what was put aside: bounds only become tighter, so that such a prompt
        # never needs more.
        nodes = nodes.select(~self._stopping_rule.reached(self._bounds)[nodes.row])
        # Only prompts of this wave get a turn: a batch must not change how many nodes a
        # prompt expands before its bounds are checked again.
        room = np.zeros(len(self._spent))
        room[rows] = np.minimum(
            self._stopping_rule.width, self._limits.node_limit - self._spent[rows]
        )
        picked = rank_within_row(nodes.row, -nodes.path_logp) < room[nodes.row]
        self._spent += np.bincount(nodes.row[picked], minlength=len(self._spent))
        self._frontier = nodes.select(~picked)
        return nodes.select(picked)
