"""The verdict trees of a batch of prompts while they grow: their nodes and children.

Nodes of all prompts share columns, so that a level of all trees is expanded by a few
numpy operations and one forward pass. At the end they are packed as evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from safebench.evidence import VerdictTree

from .automaton import label_bitmask
from .forced_tokens import AFTER_LABEL_PREFIX, NO_CONTINUATION
from .logits import LogitQuery
from .vocabulary import CLOSED, OTHER, STOP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.typing import Array

    from .automaton import Automaton
    from .forced_tokens import ForcedContinuations
    from .logits import LogitSummary
    from .vocabulary import Vocabulary


GREEDY, FORCED, MALFORMED, LEVEL_START, LABEL_START = 1, 2, 4, 8, 16  # bits of `flags`
LIVE, EXPANDED, ENDED = 0, 1, 2  # values of `status`


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nodes:
    """Some nodes of the trees of a batch, in columns of (N,) each.

    `row` is the prompt, `index` the number of the node over all prompts, `parent` the
    index of its parent and `parent_handle` the parent's handle in the session. `logp`
    is the log-probability given the parent, `path_logp` that of the path from the root,
    `depth` the tokens on it. `continuation` says what is forced below the node
    (`ForcedContinuations`). The other columns are as in `VerdictTree`.
    """

    row: Array
    index: Array
    parent: Array
    parent_handle: Array
    token: Array
    logp: Array
    path_logp: Array
    depth: Array
    continuation: Array
    state: Array
    level: Array
    label: Array
    labels_mask: Array
    slot: Array
    flags: Array
    ended: Array

    def __len__(self) -> int:
        return len(self.row)

    def select(self, rows: Array) -> Self:
        """Return the nodes `rows`, indices or a mask."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Return the nodes of all `parts`, in order."""
        names = [field.name for field in fields(cls)]
        return cls(
            **{n: np.concatenate([getattr(part, n) for part in parts]) for n in names}
        )

    def has_flag(self, flag: int) -> Array:
        """Return whether each node has a flag, (N,)."""
        return (self.flags & flag) > 0


def root_nodes(
    count: int, continuation: int, *, allows_level: bool, row: int = 0, index: int = 0
) -> Nodes:
    """Return the roots of `count` trees.

    `allows_level` says that a level may follow at once. Prompts are numbered from `row`
    on, nodes from `index` on.
    """
    zero, none = np.zeros(count, dtype=np.int64), np.full(count, -1)
    return Nodes(
        row=row + np.arange(count),
        index=index + np.arange(count),
        parent=none,
        parent_handle=none,
        token=none,
        logp=zero.astype(np.float64),
        path_logp=zero.astype(np.float64),
        depth=zero,
        continuation=np.full(count, continuation),
        state=zero,
        level=none,
        label=none,
        labels_mask=zero.astype(np.uint64),
        slot=zero,
        flags=np.full(count, GREEDY | FORCED | (LEVEL_START if allows_level else 0)),
        ended=zero > 0,
    )


class TreeBatch:
    """The trees of a batch: all nodes so far, and the logits of the expanded ones."""

    def __init__(self) -> None:
        self.n_trees = 0
        self.n_nodes = 0
        self._nodes: list[Nodes] = []
        self._index: list[Array] = []
        self._expanded: list[dict[str, Array]] = []
        self._greedy: list[tuple[Array, dict[str, Array]]] = []

    def add_roots(self, roots: Nodes) -> None:
        """Store the roots of more trees."""
        self.n_trees += len(roots)
        self.n_nodes += len(roots)
        self._nodes.append(roots)

    def add_expansion(
        self, wave: Nodes, remainders: Array, summary: LogitSummary, children: Nodes
    ) -> None:
        """Store the children of `wave`, and what its logits said.

        `remainders` (Q, 3) is the probability of stop, closed and rest at each node.
        """
        valid = ~summary.invalid
        self.n_nodes += len(children)
        self._nodes.append(children)
        self._index.append(wave.index[valid])
        self._expanded.append(
            {
                "stop": remainders[valid, 0],
                "closed": remainders[valid, 1],
                "rest": remainders[valid, 2],
                **{k: column[valid] for k, column in summary.node_columns().items()},
            }
        )
        greedy = wave.has_flag(GREEDY)
        index, kept = wave.index[greedy], valid[greedy]
        self._greedy.append((index[kept], summary.top_columns()))

    def greedy_tokens(self) -> list[list[int]]:
        """Return the tokens of every prompt's greedy path, EOS included."""
        paths: list[list[int]] = [[] for _ in range(self.n_trees)]
        for nodes in self._nodes:
            greedy = nodes.select(nodes.has_flag(GREEDY) & (nodes.parent >= 0))
            for row, token in zip(greedy.row, greedy.token, strict=True):
                paths[row].append(int(token))
        return paths

    def expansion_counts(self) -> Array:
        """Return how many nodes of every prompt have been expanded, (B,)."""
        rows = np.concatenate([nodes.row for nodes in self._nodes])
        return np.bincount(rows[np.concatenate(self._index)], minlength=self.n_trees)

    def to_evidence(
        self, meta: Mapping[str, Any], pending: Array, failed: Sequence[int]
    ) -> VerdictTree:
        """Return the trees as evidence; those of `failed` prompts are a bare root.

        `pending` (S,) is the trie node of each state of the automaton.
        """
        nodes = Nodes.concat(self._nodes)
        expanded = np.concatenate(self._index)
        greedy = np.concatenate([index for index, _ in self._greedy])
        # A prompt may fail at any depth: what it had grown until then is left out.
        valid, row = ~np.isin(nodes.row, failed), nodes.row
        status = np.where(nodes.ended, ENDED, LIVE)
        status[expanded[valid[expanded]]] = EXPANDED
        order = np.argsort(row, kind="stable")
        order = order[valid[order] | (nodes.parent[order] < 0)]
        kept = nodes.select(order)
        offsets = _offsets(kept.row, self.n_trees)
        # Nodes come wave by wave over all prompts; evidence has them prompt by prompt,
        # numbered from 0 in each.
        place = np.zeros(len(row), dtype=np.int64)
        place[order] = np.arange(len(order)) - offsets[kept.row]
        by_expanded = _sorted_by_sample(expanded, valid, row, place)
        by_greedy = _sorted_by_sample(greedy, valid, row, place)
        return VerdictTree(
            {
                "parent": np.where(kept.parent < 0, -1, place[kept.parent]),
                "token": kept.token,
                "logp": kept.logp,
                "state": kept.state,
                "level": kept.level,
                "label": kept.label,
                "labels_mask": kept.labels_mask,
                "slot": kept.slot,
                "pending": pending[kept.state],
                "flags": kept.flags,
                "status": status[order],
                "node": place[expanded[by_expanded]],
                **{name: self._column(name)[by_expanded] for name in self._expanded[0]},
                "greedy_node": place[greedy[by_greedy]],
                **{k: self._top(k)[by_greedy] for k in self._greedy[0][1]},
            },
            offsets={
                "N": offsets,
                "E": _offsets(row[expanded[by_expanded]], self.n_trees),
                "G": _offsets(row[greedy[by_greedy]], self.n_trees),
            },
            meta=meta,
            size=self.n_trees,
        )

    def _column(self, name: str) -> Array:
        return np.concatenate([wave[name] for wave in self._expanded])

    def _top(self, name: str) -> Array:
        return np.concatenate([columns[name] for _, columns in self._greedy])


def _sorted_by_sample(index: Array, valid: Array, row: Array, place: Array) -> Array:
    """Return the positions in `index` of the nodes to keep, by row and place."""
    positions = np.nonzero(valid[index])[0]
    nodes = index[positions]
    ordered: Array = positions[np.lexsort((place[nodes], row[nodes]))]
    return ordered


def _offsets(rows: Array, n_trees: int) -> Array:
    return np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=n_trees))))


class Transitions(NamedTuple):
    """What M listed tokens do after their nodes, (M,) each, by node and token."""

    node: Array
    token: Array
    kind: Array
    state: Array
    label: Array
    ended: Array
    greedy: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeExpander:
    """Gives nodes their children, by the grammar alone: no model, no stopping rule.

    Children of probability `eps` or more are kept, besides the greedy and the forced.
    """

    vocabulary: Vocabulary
    continuations: ForcedContinuations
    eps: float
    top_k: int

    def query(self, wave: Nodes) -> LogitQuery:
        """Return what is needed of the logits at the nodes of a wave."""
        mass = np.exp(wave.path_logp)
        # A node below eps has no child of eps: its minimum stays infinite.
        minimum = np.full(len(wave), np.inf)
        fertile = (mass >= self.eps) & (mass > 0)
        node, token, _ = self.continuations.forced_children(wave.continuation)
        return LogitQuery(
            state=wave.state,
            min_probability=np.divide(self.eps, mass, out=minimum, where=fertile),
            greedy=wave.has_flag(GREEDY),
            forced_node=node,
            forced_token=token,
            top_k=self.top_k,
        )

    def children(
        self, wave: Nodes, handles: Array, summary: LogitSummary, first_index: int
    ) -> tuple[Nodes, Array]:
        """Return the children of a wave, and what its nodes leave out, (Q, 3).

        `handles` (Q,) are the session's for the wave; children are numbered from
        `first_index`. What is left out is the probability, given the node, of tokens
        that got no child: those that stop the verdict, close a label, and the rest.
        """
        transitions = self._transitions(wave, summary)
        node = transitions.node
        path_logp = wave.path_logp[node] + summary.logp
        forced, continuation = self._continuations_of(wave, transitions, path_logp)
        children = Nodes(
            row=wave.row[node],
            index=first_index + np.arange(len(node)),
            parent=wave.index[node],
            parent_handle=handles[node],
            token=transitions.token,
            logp=summary.logp,
            path_logp=path_logp,
            depth=wave.depth[node] + 1,
            continuation=continuation,
            state=transitions.state,
            level=self._automaton.level[transitions.state].astype(np.int64),
            label=transitions.label,
            labels_mask=wave.labels_mask[node] | label_bitmask(transitions.label),
            # The labels of lines have no place among those of the level.
            slot=wave.slot[node]
            + (self._automaton.as_category(transitions.label) >= 0),
            flags=self._flags(wave, transitions) + FORCED * forced,
            ended=transitions.ended,
        )
        return children, _remaining_mass(summary, transitions.kind, len(wave))

    @property
    def _automaton(self) -> Automaton:
        return self.vocabulary.automaton

    def _transitions(self, wave: Nodes, summary: LogitSummary) -> Transitions:
        node, token = summary.node, summary.token
        kind, state, label = self._token_transitions(wave.state[node], token)
        likeliest = token == summary.argmax[node]
        greedy = wave.has_flag(GREEDY)[node] & likeliest
        ended = self._automaton.ended[state]
        return Transitions(node, token, kind, state, label, ended, greedy)

    def _flags(self, wave: Nodes, transitions: Transitions) -> Array:
        automaton, state, ended = self._automaton, transitions.state, transitions.ended
        eos = self.vocabulary.eos[transitions.token]
        accepted = eos & automaton.accepted[wave.state[transitions.node]]
        # Without a level there is no verdict, which is another failure than a
        # malformed one. Lenient parsing skips what strict parsing calls malformed.
        malformed = ended & (automaton.level[state] >= 0) & ~accepted
        if automaton.grammar.mode == "lenient":
            malformed[:] = False
        flags: Array = (
            GREEDY * transitions.greedy
            + MALFORMED * malformed
            + LEVEL_START * (automaton.allows_level[state] & ~ended)
            + LABEL_START * automaton.label_start[state]
        )
        return flags

    def _token_transitions(
        self, states: Array, tokens: Array
    ) -> tuple[Array, Array, Array]:
        """Return kind, next state and closed label of `tokens` (M,) in `states`."""
        # By state, since the transitions of a whole vocabulary are cached by state, and
        # a wave has few states and many nodes.
        kind = np.empty(len(tokens), dtype=np.int8)
        next_state = np.empty(len(tokens), dtype=np.int64)
        label = np.empty(len(tokens), dtype=np.int64)
        for state in np.unique(states):
            in_state = states == state
            transitions = self.vocabulary.transitions(int(state))
            kind[in_state] = transitions.kind[tokens[in_state]]
            next_state[in_state] = transitions.next_state[tokens[in_state]]
            label[in_state] = transitions.closed_label[tokens[in_state]]
        return kind, next_state, label

    def _continuations_of(
        self, wave: Nodes, transitions: Transitions, path_logp: Array
    ) -> tuple[Array, Array]:
        """Return which children (M,) are forced, and the continuation of each."""
        likely = np.exp(path_logp) >= self.eps
        width, automaton = len(self.vocabulary), self._automaton
        state, greedy = transitions.state, transitions.greedy
        node, token, next_ = self.continuations.forced_children(wave.continuation)
        # One number for each (node, token), so that both lists can be matched.
        forced_keys = node * width + token
        order = np.argsort(forced_keys)
        forced_keys, next_ = forced_keys[order], next_[order]
        keys = transitions.node * width + transitions.token
        forced = np.isin(keys, forced_keys)
        continuation = np.full(len(keys), NO_CONTINUATION)
        continuation[forced] = next_[np.searchsorted(forced_keys, keys[forced])]
        # Nothing can be read there any more: to force tokens would add passes alone.
        continuation[~automaton.open[state]] = NO_CONTINUATION
        if self.continuations.enabled:
            continuation[automaton.label_start[state] & greedy] = AFTER_LABEL_PREFIX
            # Unlikely openers force nothing: their trees would cost as much as the
            # likely ones and change no strategy's result by more than eps.
            at_level = automaton.allows_level[state] & (greedy | likely)
            levels = self.continuations.state_continuations[state[at_level]]
            continuation[at_level] = levels
        return forced, continuation


def _remaining_mass(summary: LogitSummary, kind: Array, count: int) -> Array:
    """Return stop, closed and rest (Q, 3): kind masses less those of the children."""
    kept = np.bincount(
        summary.node * 3 + kind, weights=np.exp(summary.logp), minlength=3 * count
    ).reshape(count, 3)
    # Rounding can leave a little less than nothing.
    remaining = np.clip(summary.kind_masses - kept, 0.0, None)
    return remaining[:, [STOP, CLOSED, OTHER]]
