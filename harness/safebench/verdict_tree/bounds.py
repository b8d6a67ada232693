"""Bounds on the probability of levels and labels in stored verdict trees.

The leaves of a tree and the three remainders of each expanded node (stop, closed, rest)
partition all probability of the verdict. What every completion of a part contains is
certain, what some may contain is possible: the lower bound of an event is the mass of
the parts in which it is certain, the upper bound adds those in which it is possible.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .automaton import automaton_from_meta, label_bitmask
from .tree import ENDED, EXPANDED, GREEDY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    from .automaton import Automaton


LEAF, CLOSED_REMAINDER, REST_REMAINDER, STOP_REMAINDER = 0, 1, 2, 3  # as stored


class Bounds(NamedTuple):
    """Lower and upper bounds of probabilities: the exact value lies between them."""

    lower: Array
    upper: Array


class NodeColumns(NamedTuple):
    """Nodes of some trees, (Q,) each, as far as their place in a partition needs them.

    `node` counts over all samples and `sample` is its sample; `mass` is unconditional.
    `state` is the automaton's; `level` (-1: none) and `labels` (bits) have been read.
    """

    node: Array
    sample: Array
    mass: Array
    state: Array
    level: Array
    labels: Array


class Partition(NamedTuple):
    """All probability of the verdicts of B samples, split into parts of (C,) each.

    A part is a leaf (a node without children), or one of the remainders of an expanded
    node: `kind` says which, `node` counts over all samples. `mass` is unconditional.
    Every completion of a part has its `level` (-1: none) and its `labels` (bits); where
    the part is `open` more can be read, from `state` on.
    """

    node: Array
    kind: Array
    sample: Array
    mass: Array
    level: Array
    labels: Array
    open: Array
    state: Array


def leaves(automaton: Automaton, nodes: NodeColumns, live: Array) -> Partition:
    """Return nodes without children as parts; `live` ones have not ended."""
    kind = np.full(len(nodes.node), LEAF)
    open_ = live & automaton.open[nodes.state]
    return Partition(
        nodes.node,
        kind,
        nodes.sample,
        nodes.mass,
        nodes.level,
        nodes.labels,
        open_,
        nodes.state,
    )


def remainders(
    automaton: Automaton, nodes: NodeColumns, shares: Array
) -> Sequence[Partition]:
    """Return what expanded nodes left out as parts: stop, closed and rest.

    `shares` (Q, 3) are their probabilities given the node. After stop the verdict is
    over, so that the part is never open; after closed it goes on, so that it always is.
    """
    node, sample, mass, state, level, labels = nodes
    stop, closed, rest = (mass[:, None] * shares).T
    with_pending = labels | label_bitmask(automaton.stop_label[state])
    stop_level = automaton.stop_level[state]
    never, open_ = np.zeros(len(node), dtype=bool), automaton.open[state]

    def kind(value: int) -> Array:
        return np.full(len(node), value)

    return [
        Partition(
            node,
            kind(STOP_REMAINDER),
            sample,
            stop,
            stop_level,
            with_pending,
            never,
            state,
        ),
        Partition(
            node,
            kind(CLOSED_REMAINDER),
            sample,
            closed,
            level,
            with_pending,
            ~never,
            state,
        ),
        Partition(
            node, kind(REST_REMAINDER), sample, rest, level, labels, open_, state
        ),
    ]


class TreeBounds:
    """Bounds on what B stored trees say; results are (B,) or (B, labels).

    What strategies share is computed once: reach it as ``tree.cached(TreeBounds)``.
    """

    def __init__(self, tree: VerdictTree) -> None:
        assert not tree.questions, "the trees of several questions are read one by one"
        self.tree = tree
        self.automaton: Automaton = automaton_from_meta(tree.meta["grammar"])

    @cached_property
    def sample(self) -> Array:
        """The sample of each node, (N,)."""
        return np.repeat(np.arange(len(self.tree)), np.diff(self.tree.offsets["N"]))

    @cached_property
    def _paths(self) -> tuple[Array, Array]:
        """The log-probability of the path to each node, and its tokens, (N,) each."""
        # Pointer jumping: every round doubles how far back a node has looked, so that
        # trees of depth D take log2(D) rounds.
        begins = self.tree.offsets["N"][self.sample]
        parent = self.tree["parent"]
        root = parent < 0
        back = np.where(root, np.arange(len(parent)), begins + parent)
        path_logp = np.where(root, 0.0, self.tree["logp"])
        depth = (~root).astype(np.int64)
        while not root[back].all():
            path_logp = path_logp + path_logp[back]
            depth = depth + depth[back]
            back = back[back]
        return path_logp, depth

    @property
    def path_logp(self) -> Array:
        """The log-probability of each node, (N,)."""
        return self._paths[0]

    @property
    def depth(self) -> Array:
        """How many tokens lead from the root to each node, (N,)."""
        return self._paths[1]

    @cached_property
    def mass(self) -> Array:
        """The probability of each node, (N,)."""
        return np.exp(self.path_logp)

    @cached_property
    def expanded_nodes(self) -> Array:
        """The index into all nodes of each expanded one, (E,)."""
        counts = np.diff(self.tree.offsets["E"])
        return np.repeat(self.tree.offsets["N"][:-1], counts) + self.tree["node"]

    @cached_property
    def partition(self) -> Partition:
        """The parts of all trees; those without mass are left out."""
        parts = [self._leaves(), *self._remainders()]
        joined = Partition(
            *(np.concatenate(column) for column in zip(*parts, strict=True))
        )
        return Partition(*(column[joined.mass > 0] for column in joined))

    def _leaves(self) -> Partition:
        tree = self.tree
        nodes = np.nonzero(tree["status"] != EXPANDED)[0]
        live = tree["status"][nodes] != ENDED
        return leaves(self.automaton, self._node_columns(nodes), live)

    def _remainders(self) -> Sequence[Partition]:
        shares = np.stack([self.tree[name] for name in ("stop", "closed", "rest")], 1)
        nodes = self._node_columns(self.expanded_nodes)
        return remainders(self.automaton, nodes, shares)

    def _node_columns(self, nodes: Array) -> NodeColumns:
        tree = self.tree
        return NodeColumns(
            nodes,
            self.sample[nodes],
            self.mass[nodes],
            tree["state"][nodes],
            tree["level"][nodes],
            tree["labels_mask"][nodes],
        )

    def sum_by_sample(self, weights: Array, chosen: Array) -> Array:
        """Sum the weights (C,) of the chosen parts by sample, (B,)."""
        sample = self.partition.sample[chosen]
        return np.bincount(sample, weights=weights[chosen], minlength=len(self.tree))

    @cached_property
    def open_mass(self) -> Array:
        """The mass of open parts, (B,): no pair of bounds is further apart."""
        return self.sum_by_sample(self.partition.mass, self.partition.open)

    def level_bounds(self, levels: Sequence[bool]) -> Bounds:
        """Return bounds of the probability that one of some levels is read, (B,).

        `levels` says of each level of the grammar whether it is one of them.
        """
        parts, chosen = self.partition, np.array(levels, dtype=bool)
        reachable: Array = self.automaton.reachable_levels @ chosen  # of booleans: any
        # A level that was read stays: only parts without one can still get one.
        possible = parts.open & (parts.level < 0) & reachable[parts.state]
        lower = self.sum_by_sample(parts.mass, self._commits_to(chosen))
        return Bounds(lower, lower + self.sum_by_sample(parts.mass, possible))

    @cached_property
    def label_bounds(self) -> Bounds:
        """Bounds of the probability that each label is read, (B, labels)."""
        parts = self.partition
        # Labels already read are certain, and so no longer possible.
        reachable = self.automaton.reachable_labels[parts.state]
        possible = np.where(parts.open, reachable & ~parts.labels, np.uint64(0))
        lower = self._sum_by_label(parts.labels)
        return Bounds(lower, lower + self._sum_by_label(possible))

    def answer_bounds(self, answers: Sequence[int]) -> Bounds:
        """Return bounds of the probability that one of some labels is read, (B,).

        `answers` are numbers of labels (`Grammar.answers`).
        """
        parts, bits = self.partition, answer_bits(answers)
        certain = (parts.labels & bits) > 0
        reachable = (self.automaton.reachable_labels[parts.state] & bits) > 0
        lower = self.sum_by_sample(parts.mass, certain)
        possible = parts.open & ~certain & reachable
        return Bounds(lower, lower + self.sum_by_sample(parts.mass, possible))

    def answer_renormalized(self, answers: Sequence[int]) -> Array:
        """Estimate the probability of some labels from closed parts alone, (B,)."""
        parts = self.partition
        certain = ((parts.labels & answer_bits(answers)) > 0) & ~parts.open
        return _divide_or_nan(
            self.sum_by_sample(parts.mass, certain), 1.0 - self.open_mass
        )

    def level_renormalized(self, levels: Sequence[bool]) -> Array:
        """Estimate the probability of some levels from closed parts alone, (B,).

        Open parts are left out, as if their verdicts were distributed like the others.
        NaN where all parts are open.
        """
        # Numerator and denominator are of the same parts, so that the estimates of all
        # levels sum to 1 at most.
        certain = self._commits_to(np.array(levels, dtype=bool)) & ~self.partition.open
        return _divide_or_nan(
            self.sum_by_sample(self.partition.mass, certain), 1.0 - self.open_mass
        )

    def label_renormalized(self) -> Array:
        """Estimate the probability of each label from closed parts, (B, labels)."""
        certain = np.where(self.partition.open, np.uint64(0), self.partition.labels)
        return _divide_or_nan(
            self._sum_by_label(certain), 1.0 - self.open_mass[:, None]
        )

    def _commits_to(self, levels: Array) -> Array:
        """Return whether it is certain in each part that one of the levels is read."""
        return np.append(levels, False)[self.partition.level]  # level -1 reads the last

    def _sum_by_label(self, bits: Array) -> Array:
        """Sum the mass of parts by sample and by each label in their `bits` (C,)."""
        # A loop over at most 64 labels; unpacking all bits would take 64 times the
        # memory of the parts.
        parts, count = self.partition, len(self.automaton.grammar.all_labels)
        sums = np.zeros((len(self.tree), count))
        set_ = np.nonzero(bits)[0]
        bits, sample, mass = bits[set_], parts.sample[set_], parts.mass[set_]
        for label in range(count):
            has_label = (bits >> np.uint64(label)) & np.uint64(1) > 0
            sums[:, label] = np.bincount(
                sample[has_label], weights=mass[has_label], minlength=len(self.tree)
            )
        return sums

    @cached_property
    def invalid_bounds(self) -> Bounds:
        """Bounds of the probability that no level is read, (B,)."""
        parts = self.partition
        unread = parts.level < 0
        lower = self.sum_by_sample(parts.mass, unread & ~parts.open)
        return Bounds(
            lower, lower + self.sum_by_sample(parts.mass, unread & parts.open)
        )

    @cached_property
    def unread_labels(self) -> Array:
        """P(a level that takes labels, and then text in which none was read), (B,).

        What is off the grammar may hold labels or not: ``unsafe``, a space and a line
        feed before ``S1``, for one. A verdict that just ends after the level has none.
        """
        parts, levels = self.partition, self.automaton.grammar.levels
        takes = np.array([*(level.takes_labels for level in levels), False])
        # Remainders have no token of their own; a likely end is a leaf, not part of
        # them.
        ends = (parts.kind == LEAF) & np.isin(
            self.tree["token"][parts.node], self.tree.meta.get("eos", ())
        )
        unread = takes[parts.level] & ~parts.open & (parts.labels == 0) & ~ends
        if self.automaton.grammar.mode == "lenient":  # which reads any text
            unread[:] = False
        return self.sum_by_sample(parts.mass, unread)

    @cached_property
    def greedy_end(self) -> Array:
        """The last node of each greedy path, counted over all samples, (B,)."""
        on_path = np.nonzero(self.tree["flags"] & GREEDY)[0]
        last = np.zeros(len(self.tree), dtype=np.int64)
        # Nodes come after their parents: of several, the last that is assigned stays.
        last[self.sample[on_path]] = on_path
        return last


def answer_bits(answers: Sequence[int]) -> Any:
    """Return numbers of labels as the bits of a uint64."""
    return np.bitwise_or.reduce(label_bitmask(np.array([-1, *answers])))


def _divide_or_nan(mass: Array, whole: Array) -> Array:
    """Return mass / whole; NaN where the whole is empty."""
    nothing = np.full(mass.shape, np.nan)
    share: Array = np.divide(mass, whole, out=nothing, where=whole > 0)
    return share


class LabelPositions:
    """Which label comes at a position (1, 2, ...) in the verdicts of B trees.

    It is certain in a part once the label at that position was read on the way there,
    or is complete at its node and every continuation in the part closes it.
    """

    def __init__(self, tree_bounds: TreeBounds, position: int) -> None:
        self.tree_bounds = tree_bounds
        self.position = position

    @cached_property
    def _label_on_path(self) -> Array:
        """The label at the position on the path to each node, (N,); -1: fewer."""
        tree, position = self.tree_bounds.tree, self.position
        slot = tree["slot"].astype(np.int64)
        label = self.tree_bounds.automaton.as_category(tree["label"].astype(np.int64))
        begins = tree.offsets["N"][self.tree_bounds.sample]
        # Pointer jumping again: back to the node at which the label was completed, or
        # to any node above which fewer labels were read.
        known = (slot < position) | ((slot == position) & (label >= 0))
        back = np.where(known, np.arange(len(slot)), begins + tree["parent"])
        while not known[back].all():
            back = back[back]
        return np.where(slot >= position, label[back], -1)

    def certain_label(self, node: Array, kind: Array) -> Array:
        """Return the label at the position in parts of a partition (-1: not certain).

        `node` and `kind` are as in `Partition`, of one shape, which the result has.
        """
        tree, automaton = self.tree_bounds.tree, self.tree_bounds.automaton
        closed = (kind == CLOSED_REMAINDER) | (kind == STOP_REMAINDER)
        completes = closed & (tree["slot"][node] == self.position - 1)
        pending = automaton.stop_label[tree["state"][node]]
        label: Array = np.where(completes, pending, self._label_on_path[node])
        return automaton.as_category(label)

    @cached_property
    def _certain_labels(self) -> Array:
        parts = self.tree_bounds.partition
        return self.certain_label(parts.node, parts.kind)

    @cached_property
    def bounds(self) -> Bounds:
        """Bounds of the probability that each label is at the position, (B, labels)."""
        lower = self._sum_certain(np.ones(len(self._certain_labels), dtype=bool))
        return Bounds(lower, lower + self._sum_possible())

    def renormalized(self) -> Array:
        """Estimate the probability of each label from closed parts, (B, labels)."""
        tree_bounds = self.tree_bounds
        whole = np.broadcast_to(1.0 - tree_bounds.open_mass[:, None], self._shape)
        return _divide_or_nan(self._sum_certain(~tree_bounds.partition.open), whole)

    def _sum_certain(self, chosen: Array) -> Array:
        """Sum the mass of the chosen parts by sample and certain label."""
        parts, shape = self.tree_bounds.partition, self._shape
        certain = np.nonzero(chosen & (self._certain_labels >= 0))[0]
        cell = parts.sample[certain] * shape[1] + self._certain_labels[certain]
        sums = np.bincount(cell, parts.mass[certain], shape[0] * shape[1])
        return sums.reshape(shape)

    def _sum_possible(self) -> Array:
        """Sum the mass of open parts by sample and each label that may still come."""
        tree_bounds, shape = self.tree_bounds, self._shape
        parts = tree_bounds.partition
        # The closed remainder has read one label more than its node.
        read = tree_bounds.tree["slot"][parts.node].astype(np.int64)
        read += parts.kind == CLOSED_REMAINDER
        possible = np.nonzero(parts.open & (read < self.position))[0]
        reachable = tree_bounds.automaton.reachable_labels[parts.state[possible]]
        sample, mass = parts.sample[possible], parts.mass[possible]
        sums = np.zeros(shape)
        for label in range(shape[1]):
            has_label = (reachable >> np.uint64(label)) & np.uint64(1) > 0
            sums[:, label] = np.bincount(sample[has_label], mass[has_label], shape[0])
        return sums

    @property
    def _shape(self) -> tuple[int, int]:
        labels = self.tree_bounds.automaton.grammar.labels
        return len(self.tree_bounds.tree), len(labels)
