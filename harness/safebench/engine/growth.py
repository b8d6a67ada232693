"""One wave of growth: what to ask about its nodes, and the children that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .automaton import label_bits
from .digest import Query
from .forest import FORCED, GREEDY, MALFORMED, OPENS, START, Nodes
from .scripts import NONE, STEM
from .vocabulary import CLOSED, OTHER, STOP

if TYPE_CHECKING:
    from .automaton import Automaton
    from .digest import Digest
    from .scripts import Scripts
    from .vocabulary import Vocabulary

    Array = np.ndarray[Any, np.dtype[Any]]


class Edges(NamedTuple):
    """What tokens do after nodes of the wave, (M,) each, sorted by node and token."""

    node: Array
    token: Array
    kind: Array
    state: Array
    label: Array
    ended: Array
    greedy: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How nodes get children: the grammar's side, with no model and no stop rule."""

    vocabulary: Vocabulary
    scripts: Scripts
    eps: float
    top: int

    def ask(self, wave: Nodes) -> Query:
        """Return what the wave's logits are asked for."""
        mass = np.exp(wave.path)
        none = np.full(len(wave), np.inf)  # no child of such a node reaches eps
        fertile = (mass >= self.eps) & (mass > 0)
        node, token, _ = self.scripts.follow(wave.script)
        return Query(
            state=wave.state,
            floor=np.divide(self.eps, mass, out=none, where=fertile),
            greedy=wave.has(GREEDY),
            forced_node=node,
            forced_token=token,
            top=self.top,
        )

    def read(
        self, wave: Nodes, handles: Array, found: Digest, first: int
    ) -> tuple[Nodes, Array]:
        """Return the children, numbered from `first`, and each node's split (Q, 3).

        `handles` (Q,) are those of the wave. The split is the conditional mass of the
        children not kept: stop, closed, rest.
        """
        edges = self._edges(wave, found)
        node, path = edges.node, wave.path[edges.node] + found.logp
        forced, script = self._scripts(wave, edges, np.exp(path) >= self.eps)
        children = Nodes(
            row=wave.row[node],
            index=first + np.arange(len(node)),
            parent=wave.index[node],
            handle=handles[node],
            token=edges.token,
            logp=found.logp,
            path=path,
            depth=wave.depth[node] + 1,
            script=script,
            state=edges.state,
            level=self._table.level[edges.state].astype(np.int64),
            label=edges.label,
            mask=wave.mask[node] | label_bits(edges.label),
            slot=wave.slot[node] + (edges.label >= 0),
            flags=self._flags(wave, edges) + FORCED * forced,
            ended=edges.ended,
        )
        return children, _left(found, edges.kind, len(wave))

    @property
    def _table(self) -> Automaton:
        return self.vocabulary.automaton

    def _edges(self, wave: Nodes, found: Digest) -> Edges:
        node, token = found.node, found.token
        kind, state, label = self._moves(wave.state[node], token)
        likeliest = token == found.likeliest[node]
        greedy = wave.has(GREEDY)[node] & likeliest
        ended = self._table.ended[state]
        return Edges(node, token, kind, state, label, ended, greedy)

    def _flags(self, wave: Nodes, edges: Edges) -> Array:
        table, state, ended = self._table, edges.state, edges.ended
        eos = self.vocabulary.eos[edges.token]
        accepted = eos & table.accepted[wave.state[edges.node]]
        off = ended & (table.level[state] >= 0) & ~accepted
        if table.grammar.mode == "lenient":
            off[:] = False
        flags: Array = (
            GREEDY * edges.greedy
            + MALFORMED * off
            + OPENS * (table.opener[state] & ~ended)
            + START * table.start[state]
        )
        return flags

    def _moves(self, states: Array, tokens: Array) -> tuple[Array, Array, Array]:
        """Return kind, next state and closed label of tokens (M,) read in `states`."""
        kind = np.empty(len(tokens), dtype=np.int8)
        after = np.empty(len(tokens), dtype=np.int64)
        label = np.empty(len(tokens), dtype=np.int64)
        for state in np.unique(states):
            here = states == state
            moves = self.vocabulary.moves(int(state))
            kind[here] = moves.kind[tokens[here]]
            after[here] = moves.next[tokens[here]]
            label[here] = moves.closes[tokens[here]]
        return kind, after, label

    def _scripts(self, wave: Nodes, edges: Edges, likely: Array) -> tuple[Array, Array]:
        """Say which children (M,) are forced, and the scripts that they go on with."""
        width, table = len(self.vocabulary), self._table
        node, token, script = self.scripts.follow(wave.script)
        order = np.argsort(node * width + token)
        asked, script = (node * width + token)[order], script[order]
        keys = edges.node * width + edges.token
        forced = np.isin(keys, asked)
        out = np.full(len(keys), NONE)
        out[forced] = script[np.searchsorted(asked, keys[forced])]
        out[~table.open[edges.state]] = NONE  # nothing is left to say there
        if self.scripts.wanted:
            out[table.start[edges.state] & edges.greedy] = STEM
            opener = table.opener[edges.state] & (edges.greedy | likely)
            out[opener] = self.scripts.opening[edges.state[opener]]
        return forced, out


def _left(found: Digest, kind: Array, count: int) -> Array:
    """Return stop, closed, rest (Q, 3): the masses by kind less what was kept."""
    kept = np.bincount(
        found.node * 3 + kind, weights=np.exp(found.logp), minlength=3 * count
    ).reshape(count, 3)
    left = np.clip(found.masses - kept, 0.0, None)
    return left[:, [STOP, CLOSED, OTHER]]
