"""Bounds of sparse trees on random grammars, vocabularies and distributions.

Drawn anew by seed: labels that begin alike, tokens that cut texts anywhere, two tokens
of one text, special ones without a text, ties, zeros, rounded log-probabilities, K from
1 to more than there are tokens. The truth are the full distributions.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import OptionError
from safebench.testing.sparse_view import SparseView
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import Bounds, LabelPositions, TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer
from safebench.verdict_tree.grammar import Grammar, Level
from safebench.verdict_tree.sparse_explorer import SparseExplorer
from safebench.verdict_tree.sparse_model import ListedTokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.typing import Array

PROMPTS = [[0], [1]]
DEPTH = 3
NAMES = ("safe", "unsafe", "un", "ok", "Yes", "No", "safety")
# by how much values may miss the truth, by how they are rounded
ROUNDED = {"float64": 1e-9, "float32": 1e-6, "bfloat16": 0.03}


def bfloat16(values: Array) -> Array:
    """Round to 8 bits, to the nearest."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    kept = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    rounded = kept.astype(np.uint32).view(np.float32)
    return np.where(np.isfinite(values), rounded, values).astype(np.float64)


class Table(dict[tuple[int, ...], Any]):
    """Distributions over V tokens after every prefix, with ties or zeros.

    In the style of ``verdicts`` all tokens that go on with one are equally likely, and
    no other is: then the cap of what is not listed says all that there is to know.
    """

    def __init__(
        self, seed: int, tokens: Sequence[bytes], style: str, verdicts: Sequence[str]
    ) -> None:
        self._seed, self._width, self._style = seed, len(tokens), style
        self._tokens = [token.decode() for token in tokens]
        self._verdicts = verdicts

    def _going_on(self, prefix: tuple[int, ...]) -> Array:
        text = "".join(self._tokens[token] for token in prefix)
        found = [
            any(v.startswith(text + token) for v in self._verdicts) if token else False
            for token in self._tokens
        ]
        found[0] = not any(found)
        return np.array(found, dtype=np.float64)

    def get(self, prefix: tuple[int, ...], default: Any = None) -> Any:
        """Return the distribution after a prefix."""
        if prefix not in self:
            rng = np.random.default_rng([self._seed, *prefix])
            logits = rng.normal(0, rng.choice([0.5, 2.5, 6.0]), self._width)
            if self._style == "ties":
                logits = np.round(logits)
            p = np.exp(logits - logits.max())
            if self._style == "zeros":
                p *= rng.random(self._width) < rng.choice([0.1, 0.5])
                p[rng.integers(self._width)] = 1.0
            if self._style == "verdicts":
                p = self._going_on(prefix)
            self[prefix] = p / p.sum()
        return self[prefix]


class RoundedView(SparseView):
    """A view whose log-probabilities are rounded, and which leaves zeros out."""

    precision = "float64"

    def top_tokens(self, contexts: Sequence[Sequence[int]]) -> ListedTokens:
        """List the likeliest tokens that have any probability."""
        listed = super().top_tokens(contexts)
        ids = np.where(listed.logp > -np.inf, listed.ids, -1)
        return ListedTokens(ids=ids, logp=listed.logp, max_unlisted=listed.max_unlisted)

    def _log_probabilities(self, kind: str, contexts: Sequence[Sequence[int]]) -> Array:
        logp = super()._log_probabilities(kind, contexts)
        if self.precision == "float32":
            return logp.astype(np.float32).astype(np.float64)
        return bfloat16(logp) if self.precision == "bfloat16" else logp


@dataclass(frozen=True)
class Case:
    """A grammar, a model that writes it or not, and the true bounds."""

    grammar: Grammar
    model: TableModel
    truth: TreeBounds


def draw_grammar(rng: random.Random) -> Grammar:
    """Return a grammar of few levels and labels."""
    labels = {f"{rng.choice('SC')}{rng.choice([1, 2, 10, 12])}" for _ in range(4)}
    levels = tuple(
        Level(name=name, takes_labels=not i or rng.random() < 0.5)
        for i, name in enumerate(rng.sample(NAMES, rng.randint(2, 3)))
    )
    return Grammar(
        levels=levels,
        openers=("", *rng.sample(("\n", " ", "A:"), rng.randint(0, 2))),
        intro=rng.choice(("\n", " ", ": ")),
        labels=tuple(sorted(labels)),
        separators=tuple(rng.sample((",", ", ", ";"), rng.randint(1, 2))),
        whole_words=rng.random() < 0.6,
        mode=rng.choice(("strict", "strict", "lenient")),
    )


def whole_verdicts(grammar: Grammar) -> Iterator[str]:
    """Yield the verdicts of at most one label."""
    for opener in grammar.openers:
        for level in grammar.levels:
            yield opener + level.name
            for label in grammar.labels if level.takes_labels else ():
                yield opener + level.name + grammar.intro + label


def draw_tokens(grammar: Grammar, rng: random.Random) -> list[bytes]:
    """Return tokens that spell the grammar, others, and special ones without a text."""
    texts = [text for text in grammar.texts() if text]
    pieces = {character for text in texts for character in text}
    for text in texts:
        start = rng.randrange(len(text))
        pieces.add(text[start : start + rng.randint(1, 4)])
    words = [*sorted(pieces), *(f"q{i}" for i in range(rng.choice([0, 8])))]
    twice = rng.choice(words)
    return [b"", *(word.encode() for word in words), twice.encode(), b""]


def draw_case(seed: int) -> Case:
    """Return a case; a grammar that no guard may have is drawn again."""
    rng = random.Random(seed)
    style = ("plain", "ties", "zeros", "verdicts")[seed]
    while True:
        try:
            grammar = draw_grammar(rng)
            tokens = draw_tokens(grammar, rng)
            verdicts = [*whole_verdicts(grammar)]
            tables = [Table(seed * 7 + i, tokens, style, verdicts) for i in range(2)]
            model = TableModel(tokens, 0, tables)
            explorer = TreeExplorer(model, grammar, options(1e-9))
        except OptionError:
            continue
        return Case(grammar, model, TreeBounds(explorer.explore(PROMPTS).tree))


def options(eps: float) -> ExploreOptions:
    """Return options for verdicts of a few tokens."""
    return ExploreOptions(eps=eps, max_nodes=None, max_tokens=DEPTH)


def quantities(bounds: TreeBounds, grammar: Grammar) -> list[Bounds]:
    """Return the bounds of each level, of none, of labels anywhere and at places."""
    count = len(grammar.levels)
    return [
        *(bounds.level_bounds([i == j for j in range(count)]) for i in range(count)),
        bounds.invalid_bounds,
        bounds.label_bounds,
        LabelPositions(bounds, 1).bounds,
        LabelPositions(bounds, 2).bounds,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("precision", ROUNDED)
def test_bounds_of_random_cases_hold_the_truth(seed: int, precision: str) -> None:
    """Whatever K and what can be asked by id; within [0, 1], however values round."""
    case, tolerance = draw_case(seed), ROUNDED[precision]
    truth = quantities(case.truth, case.grammar)
    for top_k in (1, 2, 3, 5, 20, 500):
        for unlisted, max_ids in (("rest", 0), ("cap", 0), ("cap", 5), ("ids", 128)):
            if unlisted == "ids" and case.grammar.mode == "lenient":
                continue
            view = RoundedView.of_table(case.model, top_k=top_k, max_ids=max_ids)
            view.precision = precision
            given: Any = unlisted
            explorer = SparseExplorer(view, case.grammar, options(1e-4), unlisted=given)
            tree = explorer.explore(PROMPTS).tree

            assert tree.impossible() is None
            found = quantities(TreeBounds(tree), case.grammar)
            for (lower, upper), (below, above) in zip(found, truth, strict=True):
                assert (lower <= above + tolerance).all()
                assert (below <= upper + tolerance).all()
                assert (lower <= upper + 1e-12).all()
                assert (lower >= -1e-12).all()
                assert (upper <= 1 + 1e-12).all()


@pytest.mark.parametrize("n_levels", [2, 3, 5])
def test_the_cap_is_reached_where_all_tokens_are_alike(n_levels: int) -> None:
    """One of n equally likely levels is listed: the others may have a share each."""
    names = ["safe", "bad", "worse", "ill", "foul"][:n_levels]
    grammar = Grammar(levels=tuple(Level(name=name) for name in names))
    tokens = [b"", *(name.encode() for name in names), b"else"]
    ends = np.eye(1, len(tokens)).ravel()
    alike = np.array([0, *[1 / n_levels] * n_levels, 0])
    table = {(): alike} | {(i,): ends for i in range(1, len(tokens))}
    view = SparseView.of_table(TableModel(tokens, 0, [table]), top_k=1)

    explorer = SparseExplorer(view, grammar, options(1e-6), unlisted="cap")
    bounds = TreeBounds(explorer.explore([[0]]).tree)

    listed = bounds.level_bounds([i == 0 for i in range(n_levels)])
    others = bounds.level_bounds([i > 0 for i in range(n_levels)])
    share = 1 / n_levels
    assert pytest.approx(share) == listed.lower[0]
    assert pytest.approx(1 - share) == others.upper[0]
    assert pytest.approx(0, abs=1e-9) == others.lower[0]
