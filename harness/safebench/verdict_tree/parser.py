"""Parsers that read a verdict byte by byte, for strict and for lenient grammars.

They know no tokens: tokenizers split verdicts at other places than grammars do, and
bytes are what all of them agree on. The states of a parser are hashable, so that
`automaton.compile_grammar` can number them and turn the parser into tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from .grammar import BLANKS, spellings
from .trie import ROOT, Trie

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .grammar import Grammar, Line


_TAIL = 1 << 20  # in place of the number of a list of labels: a tail was read
_DEAD = -1  # the node of a level that has matched and cannot become a longer one

# Bytes of words: ASCII letters, digits, hyphen and underscore, and first bytes of UTF-8
# letters. Latin-1 signs (C2), general and CJK punctuation (E2, E3, EF), emoji (F0) and
# ideographs (E4 to EE), which are written without borders, are not among them.
WORD_BYTES = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
) | frozenset(range(0xC3, 0xE2))
_CONTINUATION_BYTES = frozenset(range(0x80, 0xC0))  # these go on as they began


def _in_word(byte: int, *, before: bool) -> bool:
    """Tell whether `byte` belongs to a word; `before`: whether the last one did."""
    return before if byte in _CONTINUATION_BYTES else byte in WORD_BYTES


def fold(grammar: Grammar, text: bytes) -> bytes:
    """Return the text as the grammar compares it, perhaps without case or blanks."""
    if grammar.ignore_blanks:
        text = text.translate(None, BLANKS.encode())
    return text.lower() if grammar.ignore_case else text


def parser_classes(grammar: Grammar) -> tuple[frozenset[int], ...]:
    """Return sets of bytes that a parser tells apart beyond those a grammar names."""
    blanks = (frozenset(BLANKS.encode()),) if grammar.ignore_blanks else ()
    if not grammar.whole_words:
        return blanks
    return (*blanks, WORD_BYTES, _CONTINUATION_BYTES)


@dataclass(frozen=True, slots=True)
class ParserState:
    """How far a verdict has been parsed.

    `phase` is where: in the opener or level (pre), after the level (gap), in a label,
    after one (joint) or after a word for none, past a tail (done), in text that counts
    no more (skip), in a word that only starts like a label (run), or off the grammar
    (ended). `level` is the level that was read (-1: none) and `node` the node in the
    trie of the phase. `line` is the list of labels, 0 that of the level.
    `candidates` are the levels still possible in lenient parsing, the leftmost first,
    as (node, longest level matched so far). `in_word` says that the last character is
    part of a word, inside of which no level and no label starts.
    """

    phase: Literal[
        "pre", "gap", "label", "joint", "none", "done", "skip", "run", "ended"
    ]
    level: int = -1
    node: int = ROOT
    candidates: tuple[tuple[int, int], ...] = ()
    in_word: bool = False
    line: int = 0


class ParsedPrefix(NamedTuple):
    """What a verdict that ends here says.

    `level` and the last `label` are -1 where there is none; `accepted` tells whether
    the grammar lets a verdict end here.
    """

    level: int
    label: int
    accepted: bool


ParserStep = tuple[ParserState, int]  # the next state, the label that is complete (-1)


class VerdictParser(Protocol):
    """A way to parse verdicts; `start` is the state before the first byte."""

    label_trie: Trie
    start: ParserState

    def step(self, state: ParserState, byte: int) -> ParserStep:
        """Return the state after `byte`, and the label that it completes."""

    def finish(self, state: ParserState) -> ParsedPrefix:
        """Return what the verdict says if it ends in `state`."""

    def allows_level(self, state: ParserState) -> bool:
        """Return whether an opener, and nothing else, has been read."""


class StrictParser:
    """Parses ``opener level (intro labels)? tail? (line)*``, and nothing else."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        levels = list(enumerate(grammar.levels))
        self.takes_labels = [level.takes_labels for level in grammar.levels]
        self.cont = frozenset(fold(grammar, grammar.cont.encode()))
        self.blanks = frozenset(BLANKS.encode() if grammar.ignore_blanks else b"")
        self.level_trie = Trie(
            (self._fold(opener + text), i)
            for opener in grammar.openers
            for i, level in levels
            for text in level.surface_forms
        )
        self.level_before = self._levels_before()
        openers = (self.level_trie.find(self._fold(o)) for o in grammar.openers)
        self.opener_nodes = set(openers)
        self.n_labels = len(grammar.all_labels)
        self.label_tries = [
            self._list_trie(grammar.list_start(number), line)
            for number, line in enumerate(grammar.label_lists)
        ]
        self.label_trie = self.label_tries[0]
        self.label_before = [*map(self._labels_before, self.label_tries)]
        lines = [(self._fold(x.intro), i) for i, x in enumerate(grammar.lines, 1)]
        tails = [[(self._fold(t), _TAIL) for t in lv.tails] for _, lv in levels]
        intro = (self._fold(grammar.intro), 0)
        separators = [
            [(self._fold(text), number) for text in line.separators]
            for number, line in enumerate(grammar.label_lists)
        ]
        self.after_level = [
            Trie([*([intro] if level.takes_labels else []), *tails[i], *lines])
            for i, level in levels
        ]
        # After a word for no label, and after a tail; by level and by list of labels.
        self.after_none = [
            [
                Trie([*(tails[i] if not n else []), *lines[n:]])
                for n in range(len(separators))
            ]
            for i, _ in levels
        ]
        self.after_label = [
            [
                Trie([*listed, *(tails[i] if not n else []), *lines[n:]])
                for n, listed in enumerate(separators)
            ]
            for i, _ in levels
        ]
        self.after_tail = Trie(lines)
        self.start = ParserState("pre")

    def step(self, state: ParserState, byte: int) -> ParserStep:
        """Return the state after `byte`, and the label that it completes."""
        if byte in self.blanks:
            return state, -1
        if self.grammar.ignore_case:
            byte = bytes([byte]).lower()[0]
        match state.phase:
            case "pre":
                return self._step_in_level(state, byte)
            case "label":
                return self._step_in_label(state, byte)
            case "ended":
                return state, -1
        return self._step_between(state, byte)

    def finish(self, state: ParserState) -> ParsedPrefix:
        """Return what the verdict says if it ends in `state`."""
        match state.phase:
            case "pre":
                level = self.level_trie.value[state.node]
                accepted = level >= 0 and not self.takes_labels[level]
                level = level if level >= 0 else self.level_before[state.node]
                return ParsedPrefix(level, -1, accepted)
            case "label":
                value = self.label_tries[state.line].value[state.node]
                label = self._complete_label(state)
                return ParsedPrefix(state.level, label, value >= 0)
            case "ended":
                return ParsedPrefix(state.level, -1, accepted=False)
        at_tail = self._continuations(state).value[state.node] == _TAIL
        complete = state.node == ROOT and (
            state.phase != "gap" or not self.takes_labels[state.level]
        )
        return ParsedPrefix(state.level, -1, complete or at_tail)

    def allows_level(self, state: ParserState) -> bool:
        """Return whether an opener, and nothing else, has been read."""
        return state.phase == "pre" and state.node in self.opener_nodes

    def _fold(self, text: str) -> bytes:
        return fold(self.grammar, text.encode())

    def _list_trie(self, start: int, line: Line) -> Trie:
        """Return the trie of a list; a word for no label has a value past the last."""
        entries = [(self._fold(text), self.n_labels) for text in line.none]
        for i, texts in enumerate(spellings(line)):
            entries += [(self._fold(text), start + i) for text in texts]
        return Trie(entries)

    def _levels_before(self) -> list[int]:
        """Return for each node which level counts if the text goes no further.

        It is the longest that ends above the node; as a word of its own, if words are
        read whole.
        """
        trie, levels = self.level_trie, []
        for node, text in enumerate(trie.text):
            level, at = -1, ROOT
            for byte in text:
                value = trie.value[at]
                if value >= 0 and not self._goes_on(trie.text[at], byte):
                    level = value
                at = trie.children[at][byte]
            levels.append(trie.value[node] if trie.value[node] >= 0 else level)
        return levels

    def _goes_on(self, text: bytes, byte: int) -> bool:
        """Tell whether a byte after a level is part of its last word."""
        border = self.grammar.whole_words and text[-1:] and text[-1] in WORD_BYTES
        return bool(border) and byte in WORD_BYTES

    def _labels_before(self, trie: Trie) -> list[int]:
        """Return for each node the label that was complete above it, -1 for none."""
        labels = []
        for text in trie.text:
            label, at = -1, ROOT
            for byte in text:
                if trie.value[at] >= 0 and byte not in self.cont:
                    label = trie.value[at]
                at = trie.children[at][byte]
            labels.append(label)
        return labels

    def _complete_label(self, state: ParserState) -> int:
        """Return the label that counts if nothing continues it, -1 for none."""
        label = self.label_tries[state.line].value[state.node]
        if label < 0:
            label = self.label_before[state.line][state.node]
        return label if label < self.n_labels else -1

    def _step_in_level(self, state: ParserState, byte: int) -> ParserStep:
        child = self.level_trie.children[state.node].get(byte)
        if child is not None:
            level = self.level_trie.value[child]
            final = level >= 0 and not self.level_trie.children[child]
            # Whether the word goes on is seen from the next character.
            if final and not self._may_go_on(child, level):
                return self._after_level(level), -1
            return ParserState("pre", -1, child), -1
        level = self.level_trie.value[state.node]
        if level < 0:
            return ParserState("ended", self.level_before[state.node]), -1
        after = self._after_level(level)
        if self._goes_on(self.level_trie.text[state.node], byte):
            starts = after.phase == "label" or (
                byte in self.after_level[level].children[ROOT]
            )
            if not starts:
                return ParserState("ended"), -1
        return self.step(after, byte)

    def _may_go_on(self, node: int, level: int) -> bool:
        text = self.level_trie.text[node]
        return self._after_level(level).phase != "label" and self._goes_on(
            text, ord("a")
        )

    def _after_level(self, level: int) -> ParserState:
        return self._resolve(ParserState("gap", level))

    def _continuations(self, state: ParserState) -> Trie:
        """Return the texts of which one may follow in a phase between labels."""
        match state.phase:
            case "gap":
                return self.after_level[state.level]
            case "joint":
                return self.after_label[state.level][state.line]
            case "none":
                return self.after_none[state.level][state.line]
        return self.after_tail

    def _step_between(self, state: ParserState, byte: int) -> ParserStep:
        trie = self._continuations(state)
        child = trie.children[state.node].get(byte)
        if child is not None:
            return self._resolve(replace(state, node=child)), -1
        value = trie.value[state.node]
        if value < 0:
            return ParserState("ended", state.level), -1
        return self.step(self._entered(state, value), byte)

    def _resolve(self, state: ParserState) -> ParserState:
        """Leave a separator that is complete, unless a longer one may follow."""
        trie = self._continuations(state)
        value = trie.value[state.node]
        if value < 0 or trie.children[state.node]:
            return state
        return self._entered(state, value)

    def _entered(self, state: ParserState, value: int) -> ParserState:
        """Return the state after a separator: in a list of labels, or past a tail."""
        if value == _TAIL:
            return ParserState("done", state.level)
        return ParserState("label", state.level, line=value)

    def _step_in_label(self, state: ParserState, byte: int) -> ParserStep:
        trie = self.label_tries[state.line]
        child = trie.children[state.node].get(byte)
        if child is not None:
            return replace(state, node=child), -1
        value = trie.value[state.node]
        if value < 0:
            return ParserState("ended", state.level), self._complete_label(state)
        if byte in self.cont:
            return ParserState("ended", state.level), -1
        phase: Literal["joint", "none"] = "joint" if value < self.n_labels else "none"
        after = ParserState(phase, state.level, line=state.line)
        return self.step(after, byte)[0], self._complete_label(state)


class LenientParser:
    """Skips to the first level in any text, then reads every label after it.

    Where the grammar asks for whole words, neither starts inside of one, and a level
    counts once what follows it is no part of a word: until then the match is pending,
    and a longer word undoes it. A label ends where `cont` says.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.takes_labels = [level.takes_labels for level in grammar.levels]
        self.ignore_case = grammar.ignore_case
        self.cont = frozenset(fold(grammar, grammar.cont.encode()))
        texts = [
            [fold(grammar, text.encode()) for text in level.surface_forms]
            for level in grammar.levels
        ]
        self.level_trie = Trie((t, i) for i, forms in enumerate(texts) for t in forms)
        self.label_trie = _label_trie(grammar)
        self.whole_words = grammar.whole_words
        self.label_fail = [*map(self._word_suffix, range(len(self.label_trie.text)))]
        # A level that ends in punctuation needs no border after it.
        self.needs_border = [
            grammar.whole_words and any(text[-1] in WORD_BYTES for text in forms)
            for forms in texts
        ]
        self.allows_empty_opener = "" in grammar.openers
        self.start = ParserState("pre")

    def step(self, state: ParserState, byte: int) -> ParserStep:
        """Return the state after `byte`, and the label that it completes."""
        if self.ignore_case:
            byte = bytes([byte]).lower()[0]
        if state.phase == "pre":
            return self._step_before_level(state, byte)
        if state.phase == "label" or (state.phase == "run" and byte not in self.cont):
            return self._step_in_labels(state, byte)
        return state, -1

    def finish(self, state: ParserState) -> ParsedPrefix:
        """Return what the verdict says if it ends in `state`."""
        if state.phase == "pre":
            levels = (self._level_at_end(*c) for c in state.candidates)
            level = next((lv for lv in levels if lv >= 0), -1)
            return ParsedPrefix(level, -1, level >= 0)
        label = self._completed_label(state.node) if state.phase == "label" else -1
        return ParsedPrefix(state.level, label, accepted=True)

    def allows_level(self, state: ParserState) -> bool:
        """Return whether nothing has been read, and no opener is needed."""
        return self.allows_empty_opener and state == self.start

    def _level_at_end(self, node: int, matched: int) -> int:
        """Return the level of a candidate where the text ends, which is a border."""
        pending = self.level_trie.value[node] if node != _DEAD else -1
        return pending if pending >= 0 else matched

    def _step_before_level(self, state: ParserState, byte: int) -> ParserStep:
        candidates = tuple(self._advance_candidates(state, byte))
        node, level = candidates[0] if candidates else (ROOT, -1)
        if level < 0 or self._may_grow(node, level):
            in_word = self.whole_words and _in_word(byte, before=state.in_word)
            return ParserState("pre", candidates=candidates, in_word=in_word), -1
        if not self.takes_labels[level]:
            return ParserState("skip", level), -1
        after = ParserState("label", level)
        # A dead candidate matched before this byte, which belongs to what follows.
        return self._step_in_labels(after, byte) if node == _DEAD else (after, -1)

    def _may_grow(self, node: int, level: int) -> bool:
        """Tell whether a candidate that has matched `level` may match a longer one."""
        if node == _DEAD:
            return False
        pending = self.level_trie.value[node]
        return bool(self.level_trie.children[node]) or pending not in (-1, level)

    def _advance_candidates(
        self, state: ParserState, byte: int
    ) -> Iterator[tuple[int, int]]:
        """Yield the levels still possible, up to the first that has matched.

        A match further left wins, so that those to its right need not be followed.
        """
        word = byte in WORD_BYTES or byte in _CONTINUATION_BYTES
        starts = () if state.in_word and word else ((ROOT, -1),)
        for node, matched_before in (*state.candidates, *starts):
            child, matched = _DEAD, matched_before
            if node != _DEAD:
                child = self.level_trie.children[node].get(byte, _DEAD)
                pending = self.level_trie.value[node]
                if pending >= 0 and not (word and self.needs_border[pending]):
                    matched = pending
            level = self.level_trie.value[child] if child != _DEAD else -1
            if level >= 0 and not self.needs_border[level]:
                matched = level
            if child != _DEAD or matched >= 0:
                yield child, matched
            if matched >= 0:
                return

    def _step_in_labels(self, state: ParserState, byte: int) -> ParserStep:
        node, in_word = state.node, state.in_word
        if state.phase == "run":  # it ends here, and what follows is a new word
            node, in_word = ROOT, False
        while True:
            child = self.label_trie.children[node].get(byte)
            inside = node == ROOT and in_word and byte in WORD_BYTES
            if child is not None and not inside:
                return ParserState("label", state.level, child), -1
            label = self.label_trie.value[node]
            if label >= 0 and byte in self.cont:
                return ParserState("run", state.level), -1
            if label >= 0:
                after, _ = self._step_in_labels(ParserState("label", state.level), byte)
                return after, label
            if node == ROOT:
                in_word = self.whole_words and _in_word(byte, before=in_word)
                return ParserState("label", state.level, in_word=in_word), -1
            in_word = self.whole_words and self._ends_in_word(node)
            node = self.label_fail[node]

    def _completed_label(self, node: int) -> int:
        """Return the label that ends at `node`, or at a suffix of its text."""
        while node != ROOT and self.label_trie.value[node] < 0:
            node = self.label_fail[node]
        return self.label_trie.value[node]

    def _ends_in_word(self, node: int) -> bool:
        text, in_word = self.label_trie.text[node], False
        for byte in text:
            in_word = _in_word(byte, before=in_word)
        return in_word

    def _word_suffix(self, node: int) -> int:
        """Return the longest suffix of a node's text that may start a label."""
        text = self.label_trie.text[node]
        suffix = self.label_trie.fail[node]
        while suffix != ROOT and self.whole_words:
            start = len(text) - len(self.label_trie.text[suffix])
            inside = _in_word(text[start - 1], before=True)
            if not (inside and text[start] in WORD_BYTES):
                break
            suffix = self.label_trie.fail[suffix]
        return suffix


def _label_trie(grammar: Grammar) -> Trie:
    labels = enumerate(spellings(grammar.label_lists[0]))
    return Trie((fold(grammar, x.encode()), i) for i, texts in labels for x in texts)


def parser_for(grammar: Grammar) -> StrictParser | LenientParser:
    """Return the parser for the grammar's mode."""
    return StrictParser(grammar) if grammar.mode == "strict" else LenientParser(grammar)
