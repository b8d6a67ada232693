"""A grammar compiled to tables over bytes, so that numpy reads whole vocabularies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .grammar import Grammar
from .parser import ParserState, VerdictParser, fold, parser_classes, parser_for
from .trie import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array


class ParsedVerdict(NamedTuple):
    """What a whole verdict says.

    `level` is a level's name or None, `labels` are policy codes in order, `malformed`
    tells that text off the grammar follows, and `error` is ``invalid`` where there is
    no level, else None.
    """

    level: str | None
    labels: tuple[str, ...]
    malformed: bool
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Automaton:
    """A deterministic finite automaton with S states; 0 is the start.

    `byte_class` (256,) maps bytes to C classes, `next_state` (S, C) is the state after
    a byte and `closed_label` (S, C) the label that it completes (-1: none).

    Labels are numbered as in `Grammar.all_labels`.

    Per state, (S,): `level` is the level that was read (-1: none), `pending` the trie
    node of the label being read (-1: none), `stop_level` and `stop_label` what is read
    if the verdict stops there, and `accepted` whether the grammar lets it. `ended` says
    that text off the grammar has ended it, `allows_level` that a level may start,
    `label_start` that the common prefix of the labels has been read, and `open` that a
    level or a label can still be read: `reachable_labels` which ones, as bits of a
    uint64, and `reachable_levels` (S, levels) which levels, one already read included.
    """

    grammar: Grammar
    byte_class: Array
    next_state: Array
    closed_label: Array
    level: Array
    pending: Array
    stop_level: Array
    stop_label: Array
    accepted: Array
    ended: Array
    allows_level: Array
    label_start: Array
    open: Array
    reachable_levels: Array
    reachable_labels: Array

    def as_category(self, label: Array) -> Array:
        """Return labels of the level's own list, -1 for those of a line."""
        category: Array = np.where(label < len(self.grammar.labels), label, -1)
        return category

    def end_state(self, level: Array) -> Array:
        """Return the state of a verdict that has ended with `level` (-1: none)."""
        return level + 2  # `_end_states` come after the start, that of -1 first

    def state_after(self, text: str) -> int:
        """Return the state after `text`."""
        state = 0
        for byte in text.encode():
            state = int(self.next_state[state, self.byte_class[byte]])
        return state

    def parse(self, text: str) -> ParsedVerdict:
        """Parse a whole verdict, as if the model had ended it there."""
        state, labels = 0, []
        for byte in text.encode():
            kind = self.byte_class[byte]
            if self.closed_label[state, kind] >= 0:
                labels.append(int(self.closed_label[state, kind]))
            state = self.next_state[state, kind]
        if self.stop_label[state] >= 0:
            labels.append(int(self.stop_label[state]))
        level = int(self.stop_level[state])
        names = [*self.grammar.label_codes]
        names += self.grammar.all_labels[len(names) :]
        return ParsedVerdict(
            level=self.grammar.levels[level].name if level >= 0 else None,
            labels=tuple(names[label] for label in labels),
            malformed=level >= 0 and not self.accepted[state],
            error=None if level >= 0 else "invalid",
        )


def automaton_from_meta(meta: Any) -> Automaton:
    """Return the automaton of a stored grammar (`Grammar.to_json`), compiled once."""
    return _compile(json.dumps(meta, sort_keys=True))


def compile_grammar(grammar: Grammar) -> Automaton:
    """Return the automaton of a grammar, compiled once."""
    return automaton_from_meta(grammar.to_json())


# A run has a handful of grammars, and every batch of evidence asks for its automaton.
@lru_cache(maxsize=32)
def _compile(text: str) -> Automaton:
    grammar = Grammar.from_json(json.loads(text))
    parser: VerdictParser = parser_for(grammar)
    byte_class, examples = _byte_classes(grammar)
    states, steps = _enumerate_states(parser, _end_states(grammar), examples)
    next_state = np.array(
        [[state for state, _ in row] for row in steps], dtype=np.int16
    )
    closed_label = np.array(
        [[label for _, label in row] for row in steps], dtype=np.int8
    )
    stops = [parser.finish(state) for state in states]
    level = np.array([state.level for state in states], dtype=np.int8)
    stop_level = np.array([stop.level for stop in stops], dtype=np.int8)
    stop_label = np.array([stop.label for stop in stops], dtype=np.int8)
    labels = np.bitwise_or.reduce(label_bitmask(closed_label), axis=1)
    labels |= label_bitmask(stop_label)
    levels = _one_hot(level, grammar) | _one_hot(stop_level, grammar)
    reachable_levels, reachable_labels = _reachable(next_state, levels, labels)
    label_prefix = fold(grammar, grammar.label_prefix.encode())
    prefix_node = parser.label_trie.find(label_prefix)
    in_label = np.array([s.phase == "label" and s.line == 0 for s in states])
    node = np.array([state.node for state in states], dtype=np.int16)
    return Automaton(
        grammar=grammar,
        byte_class=byte_class,
        next_state=next_state,
        closed_label=closed_label,
        level=level,
        pending=np.where(in_label & (node != ROOT), node, -1).astype(np.int16),
        stop_level=stop_level,
        stop_label=stop_label,
        accepted=np.array([stop.accepted for stop in stops]),
        ended=np.array([state.phase == "ended" for state in states]),
        allows_level=np.array([parser.allows_level(state) for state in states]),
        label_start=in_label & (node == prefix_node),
        # Before a level anything that may give one; after it only a label counts.
        open=np.where(level < 0, reachable_levels.any(axis=1), reachable_labels > 0),
        reachable_levels=reachable_levels,
        reachable_labels=reachable_labels,
    )


def _end_states(grammar: Grammar) -> list[ParserState]:
    return [ParserState("ended", level) for level in range(-1, len(grammar.levels))]


def _byte_classes(grammar: Grammar) -> tuple[Array, list[int]]:
    """Return the class of each byte, and one byte of each class.

    A byte that the grammar names has a class of its own; all others share class 0,
    but for sets of them that the parser tells apart. So the tables stay small.
    """
    text = "".join([*grammar.texts(), grammar.cont])
    if grammar.ignore_case:
        text += text.swapcase()
    named = sorted(set(text.encode()))
    others = set(range(256)).difference(named)
    classes = np.zeros(256, dtype=np.int16)
    classes[named] = np.arange(1, len(named) + 1)
    examples = [0, *named]
    for set_ in parser_classes(grammar):
        if members := sorted(others & set_):
            classes[members] = len(examples)
            examples.append(members[0])
            others.difference_update(members)
    examples[0] = min(others)
    return classes, examples


def _enumerate_states(
    parser: VerdictParser, ends: Sequence[ParserState], examples: Sequence[int]
) -> tuple[list[ParserState], list[list[tuple[int, int]]]]:
    """Return every reachable state, the start first, and its step for each class.

    A step is the number of the next state and the label that is completed (-1: none).
    """
    # The ends are numbered first, whether or not they are reached: `end_state` counts
    # on their numbers.
    states = [parser.start, *ends]
    number = {state: i for i, state in enumerate(states)}
    steps: list[list[tuple[int, int]]] = []
    for state in states:
        # The list grows while it is read: a state is numbered when it is first met.
        row = []
        for byte in examples:
            after, closed = parser.step(state, byte)
            if after not in number:
                number[after] = len(states)
                states.append(after)
            row.append((number[after], closed))
        steps.append(row)
    return states, steps


def label_bitmask(labels: Array) -> Array:
    """Return each label as a bit of a uint64; no bit for -1."""
    shifts = np.maximum(labels, 0).astype(np.uint64)
    return np.where(labels >= 0, np.uint64(1) << shifts, np.uint64(0))


def _one_hot(level: Array, grammar: Grammar) -> Array:
    hot: Array = level[:, None] == np.arange(len(grammar.levels))
    return hot


def _reachable(next_state: Array, levels: Array, labels: Array) -> tuple[Array, Array]:
    """Return the levels and labels that each state or any state after it yields.

    `levels` (S, levels) and `labels` (S,) are those of the state alone; they are passed
    back along the steps until nothing changes.
    """
    # A fixed point and not a walk backwards: states may lead into each other, and a
    # handful of passes over small tables is enough.
    while True:
        grown_levels = levels | levels[next_state].any(axis=1)
        grown_labels = np.bitwise_or.reduce(labels[next_state], axis=1) | labels
        same = np.array_equal(grown_levels, levels)
        if same and np.array_equal(grown_labels, labels):
            return levels, labels
        levels, labels = grown_levels, grown_labels
