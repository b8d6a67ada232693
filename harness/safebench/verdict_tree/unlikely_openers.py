"""Levels after openers that hardly any verdict has: put aside while a tree grows.

A guard begins nearly all its verdicts alike. Levels after another opener are listed
with their probability; to run them, and every label below, costs as much as below the
usual opener and changes no result by more than their probability. But for a prompt on
which the guard writes no verdict at all every opener is unlikely, and strategies that
compare levels compare unlikely ones. So levels are put aside while a tree grows, and
followed after all if they are not negligible among the levels that were read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .forced_tokens import NO_CONTINUATION
from .tree import FORCED, GREEDY, LEVEL_START, Nodes

if TYPE_CHECKING:
    from safebench.typing import Array

    from .automaton import Automaton


class UnlikelyOpeners:
    """What was put aside in the trees of a search; with a `floor` of 0, nothing is.

    Levels are put aside after an opener whose levels have less than `floor` together,
    or less than `eps`: what is likelier is expanded anyway. They are due once nothing
    else is left to expand in their tree, if the greedy path has no later opener, or if
    all that is put aside has `floor` or more of the tree's probability of a level.
    """

    def __init__(self, automaton: Automaton, floor: float, eps: float) -> None:
        self._floor = floor
        self._largest = min(floor, eps)
        self._ends_level = _level_ends(automaton) if floor else None
        self._aside: list[Nodes] = []
        self._level_mass = np.zeros(0)
        self._greedy_opener = np.zeros(0, dtype=np.int64)

    def add_trees(self, count: int) -> None:
        """Start to count for more trees."""
        self._level_mass = np.concatenate([self._level_mass, np.zeros(count)])
        no_opener = np.full(count, -1)
        self._greedy_opener = np.concatenate([self._greedy_opener, no_opener])

    def put_aside(self, wave: Nodes, children: Nodes) -> Nodes:
        """Return the children of a wave, with nothing forced below unlikely levels."""
        if self._ends_level is None:
            return children
        openers = wave.has_flag(LEVEL_START)
        greedy = openers & wave.has_flag(GREEDY)
        self._greedy_opener[wave.row[greedy]] = wave.index[greedy]
        forced = children.has_flag(FORCED)
        ends = forced & self._ends_level[children.state]
        np.add.at(
            self._level_mass, children.row[ends], np.exp(children.path_logp[ends])
        )
        aside = forced & (children.continuation != NO_CONTINUATION)
        aside &= np.isin(children.parent, self._unlikely(wave, children, forced))
        if not aside.any():
            return children
        self._aside.append(children.select(aside))
        continuation = np.where(aside, NO_CONTINUATION, children.continuation)
        return replace(children, continuation=continuation)

    def _unlikely(self, wave: Nodes, children: Nodes, forced: Array) -> Array:
        """Return the indices of the unlikely openers of a wave.

        A level may take several tokens: the first of each bound its probability from
        above. An opener that the greedy path goes on from with a level is none.
        """
        order = np.argsort(wave.index)
        place = order[np.searchsorted(wave.index, children.parent, sorter=order)]
        levels = forced & wave.has_flag(LEVEL_START)[place]
        mass = np.bincount(
            place[levels],
            weights=np.exp(children.path_logp[levels]),
            minlength=len(wave),
        )
        begins = np.zeros(len(wave), dtype=bool)
        begins[place[levels & children.has_flag(GREEDY)]] = True
        unlikely = wave.has_flag(LEVEL_START) & (mass < self._largest) & ~begins
        indices: Array = wave.index[unlikely]
        return indices

    def due(self, rows: Array) -> Nodes | None:
        """Return what is to be followed in trees `rows` that are grown otherwise."""
        if not self._aside or not len(rows):
            return None
        nodes = Nodes.concat(self._aside)
        here = np.isin(nodes.row, rows)
        if not here.any():
            return None
        self._aside = [nodes.select(~here)]
        nodes = nodes.select(here)
        mass = np.bincount(
            nodes.row, np.exp(nodes.path_logp), minlength=len(self._level_mass)
        )
        tells = mass >= self._floor * self._level_mass
        after_greedy = nodes.parent == self._greedy_opener[nodes.row]
        return nodes.select(tells[nodes.row] | after_greedy)


def _level_ends(automaton: Automaton) -> Array:
    """Return in which states of the automaton a level ends, (S,)."""
    ends = np.zeros(len(automaton.level), dtype=bool)
    grammar = automaton.grammar
    for opener in grammar.openers:
        for level in grammar.levels:
            ends[automaton.state_after(opener + level.surface_form)] = True
    return ends
