"""Trees against all token paths of random models, read by an independent parser.

The enumerator knows no automaton: a strict text is read by looking up which verdicts
of the grammar it begins, a lenient one by a regular expression.
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

from safebench.testing.failure_modes import malformed, truncated
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import Bounds, LabelPositions, TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench.verdict_tree.grammar import Grammar, Level

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
    """What a text says, whether it has `ended`, and whether more can be read."""

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


class VerdictLookup:
    """Reads texts by comparison with all verdicts of at most MOST labels."""

    def __init__(self, grammar: Grammar) -> None:
        self.cont = grammar.cont
        # Labels that follow at once are letters themselves: no border is waited for.
        self.at_once = {
            level.name for level in grammar.levels if level.takes_labels
        } & ({level.name for level in grammar.levels} if not grammar.intro else set())
        self.takes = {level.name: level.takes_labels for level in grammar.levels}
        self.verdicts = sorted(_verdicts(grammar))

    def matching(self, text: str) -> list[Verdict]:
        """Return the verdicts that begin with `text`."""
        start = bisect_left(self.verdicts, (text,))
        end = bisect_left(self.verdicts, (text + "\U0010ffff",))
        return self.verdicts[start:end]

    def read(self, text: str, *, stops: bool = False) -> Read:
        """Read `text`, which `stops` if EOS follows."""
        size = next(n for n in range(len(text), -1, -1) if self.matching(text[:n]))
        matching = self.matching(text[:size])
        levels = {verdict.level for verdict in matching}
        if size == len(text) and not stops:
            end = matching[0].level_end
            read = len(levels) == 1 and (
                end < size or (end == size and levels <= self.at_once)
            )
            level = levels.pop() if read else None
            labels = _before(matching[0], size)
            more = level is None or self.takes[level]
            return Read(level, labels, ended=False, open=more)
        complete = size == len(text) or text[size] not in self.cont
        exact = next((v for v in matching if size in v.ends), matching[0])
        labels = _before(exact, size + complete)
        accepted = any(verdict.text == text for verdict in matching)
        return Read(self._level(text, size), labels, True, False, accepted)

    def _level(self, text: str, read: int) -> str | None:
        """Return the level in the first `read` characters of `text`.

        One that ends there has no letter after it.
        """
        for size in range(read, -1, -1):
            border = not re.match(r"[\w-]", text[size:], re.ASCII)
            levels = {
                v.level
                for v in self.matching(text[:size])
                if v.level_end < size
                or (v.level_end == size and (border or v.level in self.at_once))
            }
            if levels and (size < read or len(levels) == 1):
                return levels.pop()
        return None


def _verdicts(grammar: Grammar) -> Iterator[Verdict]:
    counts = range(1, MOST + 1)
    for opener, level in product(grammar.openers, grammar.levels):
        before_labels = opener + level.name
        if not level.takes_labels:
            yield Verdict(before_labels, level.name, len(before_labels), (), ())
        for n in counts if level.takes_labels else ():
            for labels in product(grammar.labels, repeat=n):
                for separators in product(grammar.separators, repeat=n - 1):
                    text, ends = before_labels, []
                    for separator, label in zip(
                        (grammar.intro, *separators), labels, strict=True
                    ):
                        text += separator + label
                        ends.append(len(text))
                    yield Verdict(
                        text, level.name, len(before_labels), labels, tuple(ends)
                    )


def _before(verdict: Verdict, size: int) -> tuple[str, ...]:
    pairs = zip(verdict.labels, verdict.ends, strict=True)
    return tuple(label for label, end in pairs if end < size)


class RegexParser:
    """Reads texts leniently: the first level word, and the label words after it."""

    def __init__(self, grammar: Grammar) -> None:
        self.labels = grammar.labels

    def read(self, text: str, *, stops: bool = False) -> Read:
        """Read `text`, which `stops` if EOS follows."""
        level = re.search(r"(?<![\w-])(unsafe|safe)(?![\w-])", text)
        if level and level.end() == len(text) and not stops:
            level = None  # it may become a longer word
        if level is None or level[0] == "safe":
            return Read(level and level[0], (), ended=stops, open=level is None)
        # Numbers that follow one another without a border count, but words do not.
        known = "|".join(sorted({label[:2] for label in self.labels}))
        matches = re.finditer(
            rf"(?<![\w-])(?:(?:{known})\d*)+|[\w-]+", text[level.end() :]
        )
        found = [
            (m.start() + n.end(), n[0])
            for m in matches
            for n in re.finditer(r"[ST]\d+", re.match(rf"(?:(?:{known})\d*)*", m[0])[0])
        ]
        room = len(text) - level.end() + stops
        labels = [label for end, label in found if label in self.labels and end < room]
        return Read("unsafe", tuple(labels), ended=stops, open=True)


@dataclass
class Case:
    """A random model under a grammar, and the probability of every kind of verdict."""

    grammar: Grammar
    pieces: list[str]
    budget: int
    table: Table = field(default_factory=dict)
    probability: dict[tuple[Read, bool], float] = field(default_factory=dict)

    def total(self, is_counted: Any) -> float:
        """Sum the probability of verdicts for which ``is_counted(read, truncated)``."""
        return sum(
            p
            for (read, truncated), p in self.probability.items()
            if is_counted(read, truncated)
        )


def random_case(seed: int, mode: Any) -> Case:
    """Return a case: pieces that span borders, rows with a few tokens, D up to MOST."""
    rng = np.random.default_rng(seed)
    openers, labels = OPENERS[rng.integers(3)], LABELS[rng.integers(3)]
    levels = LEVELS[rng.integers(3) if mode == "strict" else 0]
    separators, intro = SEPARATORS[rng.integers(3)], str(rng.choice(["\n", " ", ""]))
    fields_: dict[str, Any] = {"levels": levels, "openers": openers, "labels": labels}
    fields_ |= {"separators": separators, "intro": intro}
    grammar = Grammar(**fields_, mode=mode)
    texts = [verdict.text for verdict in _verdicts(grammar)]
    texts = [text for text in texts if len(text) < 30]  # of few labels
    words = {level.name for level in levels} | {*openers, intro, *"x0 ,t", "uns", "a"}
    for _ in range(12):  # too short to close two labels
        text = texts[rng.integers(len(texts))]
        start = rng.integers(len(text))
        words.add(text[start : start + rng.integers(1, 4 if mode == "strict" else 3)])
    words |= {*"".join([*labels, *separators])}
    pieces = ["<eos>", *rng.permutation(sorted(words - {""})).tolist()]
    case = Case(grammar, pieces, int(rng.integers(1, MOST + 1)))
    reader = VerdictLookup(grammar) if mode == "strict" else RegexParser(grammar)
    grow(case, reader, rng, (), 1.0)
    return case


def grow(case: Case, reader: Any, rng: Any, prefix: Path, p: float) -> None:
    """Draw probabilities for the tokens after `prefix`, and follow each of them."""
    text = "".join(case.pieces[token] for token in prefix)
    if len(prefix) == case.budget:
        read = reader.read(text)
        case.probability[read, True] = case.probability.get((read, True), 0.0) + p
        return
    size = len(case.pieces)
    fitting = [
        t for t in range(1, size) if not reader.read(text + case.pieces[t]).ended
    ]
    tokens = [*rng.choice([*fitting, EOS], 3), rng.integers(size)]
    row = np.zeros(size)
    np.add.at(row, tokens, rng.dirichlet(np.full(4, 0.7)))
    case.table[prefix] = row.tolist()
    for token in np.unique(tokens).tolist():
        mass = p * row[token]
        text_of_token = case.pieces[token]
        read = reader.read(text, stops=True) if token == EOS else None
        read = read or reader.read(text + text_of_token)
        if read.ended:
            case.probability[read, False] = (
                case.probability.get((read, False), 0.0) + mass
            )
        else:
            grow(case, reader, rng, (*prefix, token), mass)


def explored(case: Case, eps: float) -> TreeBounds:
    """Explore the case's model."""
    model = TableModel([piece.encode() for piece in case.pieces], EOS, [case.table])
    options = ExploreOptions(eps=eps, max_nodes=None, max_tokens=case.budget)
    return TreeBounds(explore(model, [[0]], case.grammar, options).tree)


def bounded(
    case: Case, tree_bounds: TreeBounds
) -> Iterator[tuple[float | list[float], Bounds]]:
    """Yield enumerated values with the bounds that a tree gives."""
    labels, levels = case.grammar.labels, [level.name for level in case.grammar.levels]
    for name in levels:
        is_counted = [name == other for other in levels]
        yield (
            case.total(lambda r, _, n=name: r.level == n),
            tree_bounds.level_bounds(is_counted),
        )
    yield (
        case.total(lambda r, tree_bounds: r.level is None and not tree_bounds),
        tree_bounds.invalid_bounds,
    )
    values = [case.total(lambda r, _, x=x: x in r.labels) for x in labels]
    yield values, tree_bounds.label_bounds
    for k in (1, 2, 3):
        label_at = {read: read.labels[k - 1 : k] for read, _ in case.probability}
        values = [
            case.total(lambda r, _, s=label_at, x=x: s[r] == (x,)) for x in labels
        ]
        yield values, LabelPositions(tree_bounds, k).bounds
    if malformed_bounds := malformed(tree_bounds):
        expected = case.total(lambda r, _: r.level and r.ended and not r.accepted)
        yield expected, malformed_bounds


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["strict", "lenient"])
@pytest.mark.parametrize("seed", range(30))
def test_random_models_are_read_as_enumerated(seed: int, mode: str) -> None:
    """At eps 0 values are exact and only truncation is open; above, bounds hold."""
    case = random_case(seed, mode)
    cut_off = case.total(lambda read, cut: cut and read.open)

    assert_allclose(1.0, sum(case.probability.values()), rtol=0, atol=TINY)
    exact, approximate = explored(case, 0.0), explored(case, 1e-2)
    assert_allclose([cut_off], exact.open_mass, rtol=0, atol=TINY)
    assert_allclose([cut_off], truncated(exact), rtol=0, atol=TINY)
    for value, (lower, _) in bounded(case, exact):
        assert_allclose(np.ravel(value), lower.ravel(), rtol=0, atol=TINY)
    for value, (lower, upper) in bounded(case, approximate):
        assert (lower <= np.add(value, TINY)).all()
        assert (np.subtract(value, TINY) <= upper).all()
    assert cut_off <= approximate.open_mass[0] + TINY
