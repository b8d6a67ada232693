"""The engine against all token paths of random models, read from written-out verdicts.

The enumerator knows no automaton: a strict text is read by looking up which of the
grammar's verdicts it begins, a lenient one by a regular expression.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.engine.cut import Bounds, Cut
from safebench.engine.explore import ExploreOptions, explore
from safebench.engine.faults import malformed, truncated
from safebench.engine.grammar import Grammar, Level
from safebench.engine.places import Places
from safebench.testing.table_model import TableModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    Path = tuple[int, ...]
    Table = dict[Path, list[float]]

TINY = 1e-12
MOST = 5  # tokens of a verdict, and so labels of one
SAFE, UNSAFE = Level(name="safe"), Level(name="unsafe", takes_labels=True)
MAYBE = Level(name="safety", takes_labels=True)
LEVELS = [(SAFE, UNSAFE), (UNSAFE, MAYBE, SAFE), (UNSAFE, Level(name="uns"))]
OPENERS = [("",), ("", "\n"), ("\n", "\n\n", "")]
LABELS = [("S1", "S12"), ("S1", "T2"), ("S10",)]
SEPARATORS = [(",", ", "), (" ",), (",\n", ",")]
EOS = 0


class Read(NamedTuple):
    """What a text says, whether it has `ended`, and whether it may say more."""

    level: str | None
    labels: tuple[str, ...]
    ended: bool
    open: bool
    accepted: bool = True


class Verdict(NamedTuple):
    """A whole verdict, and where its level and its labels end."""

    text: str
    level: str
    level_end: int
    labels: tuple[str, ...]
    ends: tuple[int, ...]


class Written:
    """Reads texts by comparison with all verdicts of at most MOST labels."""

    def __init__(self, grammar: Grammar) -> None:
        self.cont = grammar.cont
        self.takes = {level.name: level.takes_labels for level in grammar.levels}
        self.verdicts = sorted(_verdicts(grammar))

    def begun(self, text: str) -> list[Verdict]:
        """Return the verdicts that begin with `text`."""
        at = bisect_left(self.verdicts, (text,))
        end = bisect_left(self.verdicts, (text + "\U0010ffff",))
        return self.verdicts[at:end]

    def read(self, text: str, *, stops: bool = False) -> Read:
        """Read `text`; it `stops` where EOS follows."""
        size = next(n for n in range(len(text), -1, -1) if self.begun(text[:n]))
        begun = self.begun(text[:size])
        levels = {verdict.level for verdict in begun}
        if size == len(text) and not stops:
            read = len(levels) == 1 and begun[0].level_end <= size
            level = levels.pop() if read else None
            labels = _before(begun[0], size)
            more = level is None or self.takes[level]
            return Read(level, labels, ended=False, open=more)
        closes = size == len(text) or text[size] not in self.cont
        whole = next((v for v in begun if size in v.ends), begun[0])
        labels = _before(whole, size + closes)
        accepted = any(verdict.text == text for verdict in begun)
        return Read(self._level(text[:size]), labels, True, False, accepted)

    def _level(self, text: str) -> str | None:
        """Return the level with which `text` or, failing that, a prefix of it ends."""
        for size in range(len(text), -1, -1):
            here = self.begun(text[:size])
            said = {v.level for v in here if v.level_end <= size}
            if said and (size < len(text) or len(said) == 1):
                return said.pop()
        return None


def _verdicts(grammar: Grammar) -> Iterator[Verdict]:
    counts = range(1, MOST + 1)
    for opener, level in product(grammar.openers, grammar.levels):
        head = opener + level.name
        if not level.takes_labels:
            yield Verdict(head, level.name, len(head), (), ())
        for n in counts if level.takes_labels else ():
            for labels in product(grammar.labels, repeat=n):
                for joints in product(grammar.separators, repeat=n - 1):
                    text, ends = head, []
                    for joint, label in zip(
                        (grammar.intro, *joints), labels, strict=True
                    ):
                        text += joint + label
                        ends.append(len(text))
                    yield Verdict(text, level.name, len(head), labels, tuple(ends))


def _before(verdict: Verdict, size: int) -> tuple[str, ...]:
    pairs = zip(verdict.labels, verdict.ends, strict=True)
    return tuple(label for label, end in pairs if end < size)


class Searched:
    """Reads texts leniently: the first level word, and the S-labels after it."""

    def __init__(self, grammar: Grammar) -> None:
        self.labels = grammar.labels

    def read(self, text: str, *, stops: bool = False) -> Read:
        """Read `text`; it `stops` where EOS follows."""
        level = re.search("unsafe|safe", text)
        if level is None or level[0] == "safe":
            return Read(level and level[0], (), ended=stops, open=level is None)
        found = re.finditer(r"[ST]\d+", text[level.end() :])
        room = len(text) - level.end() + stops
        labels = [m[0] for m in found if m[0] in self.labels and m.end() < room]
        return Read("unsafe", tuple(labels), ended=stops, open=True)


@dataclass
class Case:
    """A random model under a grammar, and the probability of every kind of verdict."""

    grammar: Grammar
    pieces: list[str]
    budget: int
    table: Table = field(default_factory=dict)
    said: dict[tuple[Read, bool], float] = field(default_factory=dict)

    def total(self, wanted: Any) -> float:
        """Sum the probability of the verdicts that are wanted: (read, cut off)."""
        return sum(p for (read, cut), p in self.said.items() if wanted(read, cut))


def random_case(seed: int, mode: Any) -> Case:
    """Return a case: pieces that span borders, rows with a few tokens, D up to MOST."""
    rng = np.random.default_rng(seed)
    openers, labels = OPENERS[rng.integers(3)], LABELS[rng.integers(3)]
    levels = LEVELS[rng.integers(3) if mode == "strict" else 0]
    separators, intro = SEPARATORS[rng.integers(3)], str(rng.choice(["\n", " ", ""]))
    parts: dict[str, Any] = {"levels": levels, "openers": openers, "labels": labels}
    parts |= {"separators": separators, "intro": intro}
    grammar = Grammar(**parts, mode=mode)
    texts = [verdict.text for verdict in _verdicts(grammar)]
    texts = [text for text in texts if len(text) < 30]  # of few labels
    words = {level.name for level in levels} | {*openers, intro, *"x0 ,t", "uns", "a"}
    for _ in range(12):  # too short to close two labels
        text = texts[rng.integers(len(texts))]
        at = rng.integers(len(text))
        words.add(text[at : at + rng.integers(1, 4 if mode == "strict" else 3)])
    words |= {*"".join([*labels, *separators])}
    pieces = ["<eos>", *rng.permutation(sorted(words - {""})).tolist()]
    case = Case(grammar, pieces, int(rng.integers(1, MOST + 1)))
    reader = Written(grammar) if mode == "strict" else Searched(grammar)
    grow(case, reader, rng, (), 1.0)
    return case


def grow(case: Case, reader: Any, rng: Any, said: Path, p: float) -> None:
    """Invent the row after `said`, and go down every path of it."""
    text = "".join(case.pieces[token] for token in said)
    if len(said) == case.budget:
        read = reader.read(text)
        case.said[read, True] = case.said.get((read, True), 0.0) + p
        return
    size = len(case.pieces)
    fits = [t for t in range(1, size) if not reader.read(text + case.pieces[t]).ended]
    some = [*rng.choice([*fits, EOS], 3), rng.integers(size)]
    row = np.zeros(size)
    np.add.at(row, some, rng.dirichlet(np.full(4, 0.7)))
    case.table[said] = row.tolist()
    for token in np.unique(some).tolist():
        mass = p * row[token]
        word = case.pieces[token]
        read = reader.read(text, stops=True) if token == EOS else None
        read = read or reader.read(text + word)
        if read.ended:
            case.said[read, False] = case.said.get((read, False), 0.0) + mass
        else:
            grow(case, reader, rng, (*said, token), mass)


def explored(case: Case, eps: float) -> Cut:
    """Explore the case's model."""
    model = TableModel([piece.encode() for piece in case.pieces], EOS, [case.table])
    options = ExploreOptions(eps=eps, max_nodes=None, budget=case.budget)
    return Cut(explore(model, [[0]], case.grammar, options).tree)


def bounded(case: Case, cut: Cut) -> Iterator[tuple[float | list[float], Bounds]]:
    """Yield enumerated values with the bounds that the engine gives."""
    labels, levels = case.grammar.labels, [level.name for level in case.grammar.levels]
    for name in levels:
        wanted = [name == other for other in levels]
        yield case.total(lambda r, _, n=name: r.level == n), cut.level_bounds(wanted)
    yield case.total(lambda r, cut: r.level is None and not cut), cut.invalid
    each = [case.total(lambda r, _, x=x: x in r.labels) for x in labels]
    yield each, cut.label_bounds
    for k in (1, 2, 3):
        said = {read: read.labels[k - 1 : k] for read, _ in case.said}
        each = [case.total(lambda r, _, s=said, x=x: s[r] == (x,)) for x in labels]
        yield each, Places(cut, k).bounds
    if off := malformed(cut):
        bad = case.total(lambda r, _: r.level and r.ended and not r.accepted)
        yield bad, off


@pytest.mark.parametrize("mode", ["strict", "lenient"])
@pytest.mark.parametrize("seed", range(30))
def test_random_models_are_read_as_enumerated(seed: int, mode: str) -> None:
    """Without a cut values are exact and the gap is what D cuts off; else bounded."""
    case = random_case(seed, mode)
    short = case.total(lambda read, cut: cut and read.open)

    assert_allclose(1.0, sum(case.said.values()), rtol=0, atol=TINY)
    whole, part = explored(case, 0.0), explored(case, 1e-2)
    assert_allclose([short], whole.gap, rtol=0, atol=TINY)
    assert_allclose([short], truncated(whole), rtol=0, atol=TINY)
    for value, (lower, _) in bounded(case, whole):
        assert_allclose(np.ravel(value), lower.ravel(), rtol=0, atol=TINY)
    for value, (lower, upper) in bounded(case, part):
        assert (lower <= np.add(value, TINY)).all()
        assert (np.subtract(value, TINY) <= upper).all()
    assert short <= part.gap[0] + TINY
