"""The original definitions against a literal recursion, and the faults they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import digamma

from safebench.evidence import SeedTree
from safebench.evidence.base import EvidenceBundle
from safebench.strategies.base import Context
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.automaton import compile_grammar
from safebench.verdict_tree.vocabulary import Vocabulary
from safebench_llamaguard_marginal.compat.search import (
    OriginalSearch,
    OriginalSearchOptions,
)
from safebench_llamaguard_marginal.compat.strategies import (
    STRATEGIES,
    OriginalOptions,
    best_threshold,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    Table = dict[tuple[int, ...], list[float]]

LABELS = ("S1", "S10", "S11", "S2")
# \xff and \xfe decode alike, as halves of a character do.
PIECES = [b"safe", b"unsafe", b"\n", b"S", b"1", b"2", b"0", b",", b"\xff", b"\xfe"]
EOS = len(PIECES)
SMALL = OriginalSearchOptions(max_new_tokens=5, greedy_tokens=7)


class Peaked(dict[tuple[int, ...], list[float]]):
    """A random table, written as it is read, that mostly follows the grammar."""

    LIKELY = ([1, 0], [2], [3], [4, 5], [6, 7, EOS, 8, 9], [3, EOS], [4, 5])

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def get(self, tokens: tuple[int, ...], default: Any = None) -> Any:
        """Return the probabilities after a path, the same ones each time."""
        rng = np.random.default_rng([self.seed, len(tokens), *tokens])
        weight = np.full(EOS + 1, 0.02)
        weight[self.LIKELY[min(len(tokens), 6)]] = 0.8
        weight[rng.integers(EOS + 1, size=2)] += 0.3
        return rng.dirichlet(weight).tolist()


def recorded(
    tables: Sequence[Table], options: OriginalSearchOptions = SMALL
) -> SeedTree:
    """Record table models, one a sample."""
    model = TableModel([*PIECES, b""], EOS, tables)
    vocabulary = Vocabulary(
        compile_grammar(llama_guard(LABELS)), model.token_bytes, model.eos
    )
    search = OriginalSearch(model, vocabulary, options)
    return search.record([[row] for row in range(len(tables))])


def judged(
    name: str, tree: SeedTree, options: OriginalOptions | None = None
) -> dict[str, Any]:
    """Return what a strategy gives each label and ``unsafe``, (B,) each."""
    context = Context(task="prompt_harm", options=options)
    result = STRATEGIES[name](EvidenceBundle({SeedTree: tree}), context)
    assert result.categories is not None
    assert list(LABELS) == list(result.labels)
    return dict(zip(LABELS, result.categories.T, strict=True)) | {
        "unsafe": result.score
    }


class Literal:
    """The depth-first search as it is described, one node at a time, by recursion."""

    def __init__(self, table: Table, options: OriginalSearchOptions) -> None:
        self.table, self.options = table, options
        self.total = dict.fromkeys([*LABELS, "unsafe"], 0.0)
        self.visits = 0
        self.search((), 1.0, 0)

    def search(self, tokens: tuple[int, ...], mass: float, depth: int) -> None:
        """Visit a path: add up its children, go on from each unless told to stop."""
        if depth == self.options.max_new_tokens + 1 or mass < self.options.eps:
            return
        self.visits += 1
        p = self.table.get(tokens, [1 / (EOS + 1)] * (EOS + 1))
        children: dict[str, tuple[float, int]] = {}
        total = 0.0
        for token in sorted(range(EOS + 1), key=lambda t: (-p[t], t)):
            text = "</s>" if token == EOS else PIECES[token].decode(errors="replace")
            children[text] = (p[token], token)
            total += p[token]
            if total >= self.options.top_p:
                break
        for place, (chance, token) in enumerate(children.values()):
            path = (*tokens, token)
            if token != EOS:
                text = b"".join(PIECES[t] for t in path).decode(errors="replace")
                for name in self.total:
                    self.total[name] += mass * chance * text.endswith(name)
            if "</s>" in children and place == 2:
                break
            if token == EOS:
                if chance >= 0.7:
                    break
                continue
            self.search(path, mass * chance, depth + 1)


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.01, 0.05])
@pytest.mark.parametrize("top_p", [0.99, 0.9])
def test_marginal_any_is_the_literal_search(top_p: float, eps: float) -> None:
    """Values and node counts are those of the recursion, on 30 random models."""
    options = OriginalSearchOptions(top_p=top_p, eps=eps, max_new_tokens=5)
    tables = [Peaked(seed) for seed in range(30)]
    tree = recorded(tables, options)
    result = judged("marginal_any", tree)
    reference = [Literal(table, options) for table in tables]

    for name in [*LABELS, "unsafe"]:
        assert_allclose(
            result[name], [one.total[name] for one in reference], atol=1e-12
        )
    visits = np.add.reduceat(tree["expanded"].astype(int), tree.offsets["N"][:-1])
    assert_array_equal([one.visits for one in reference], visits)
    assert visits.min() < visits.max()


class Steps(dict[tuple[int, ...], list[float]]):
    """A table that goes on the same way whatever was said."""

    def get(self, tokens: tuple[int, ...], default: Any = None) -> Any:
        """Return the probabilities after as many tokens."""
        return super().get((len(tokens),), default)


def spelled(*steps: dict[str, float]) -> Table:
    """Build a table from what may follow at each step; an end is written ``$``."""
    ids = {piece.decode(errors="replace"): i for i, piece in enumerate(PIECES)}
    ids["$"] = EOS
    table = Steps()
    for depth, step in enumerate(steps):
        table[(depth,)] = [0.0] * (EOS + 1)
        for piece, p in step.items():
            table[(depth,)][ids[piece]] = p
    return table


def test_expected_counts_exceed_one() -> None:
    """A model that repeats itself gives unsafe more than probability 1."""
    repeat = spelled({"unsafe": 1.0}, {"unsafe": 0.8, "\n": 0.2}, {"$": 1.0})
    assert_allclose([1.8], judged("marginal_any", recorded([repeat]))["unsafe"])


def test_s1_receives_what_s10_and_s11_are_due() -> None:
    """With split digits every path to S10 or S11 ends in S1 on its way."""
    table = spelled(
        {"unsafe": 1.0},
        {"\n": 1.0},
        {"S": 1.0},
        {"1": 1.0},
        {"0": 0.6, "1": 0.4},
        {"$": 1.0},
    )
    result = judged("marginal_any", recorded([table]))
    assert [1.0, 0.6, 0.4, 0.0] == pytest.approx([result[n][0] for n in LABELS])
    greedy = judged("greedy", recorded([table]))
    assert [1, 1, 0, 0] == [greedy[n][0] for n in LABELS]
    collided = recorded([table])["label_logits"][0]
    assert collided[0] == collided[1] == collided[2]


def test_an_end_hides_later_children() -> None:
    """Where an end is plausible the third child is counted but not searched."""
    table = spelled(
        {"unsafe": 1.0}, {"\n": 0.4, ",": 0.3, "S": 0.2, "$": 0.1}, {"1": 1.0}
    )
    tree = recorded([table])
    assert [0.0] == judged("marginal_any", tree)["S1"]
    assert 2 + 2 + 2 == np.count_nonzero(tree["mass"][tree["expanded"]] > 0.25)
    sure = spelled({"unsafe": 1.0}, {"$": 0.7, "\n": 0.3}, {"S": 1.0}, {"1": 1.0})
    assert 2 == recorded([sure])["expanded"].sum()


def test_greedy_strategies_by_hand() -> None:
    """Of S1 at .7 and at .75 the last wins; only label-ending tokens are multiplied."""
    steps = [("unsafe", 0.9), ("\n", 0.5), ("S", 0.6), ("1", 0.7), ("0", 0.8)]
    steps += [(",", 0.55), ("S", 0.65), ("1", 0.75)]
    table = spelled(*[{piece: p, "safe": 1 - p} for piece, p in steps])
    tree = recorded([table, table], OriginalSearchOptions(greedy_tokens=8))

    token, fixed = judged("token_probability", tree), judged("marginal_fixed", tree)
    names = ["unsafe", "S1", "S10", "S2"]
    assert_allclose([[0.9, 0.75, 0.8, 0.0]] * 2, np.array([token[n] for n in names]).T)
    assert_allclose(
        [[0.9, 0.9 * 0.7 * 0.8 * 0.75, 0.9 * 0.7 * 0.8, 0.0]] * 2,
        np.array([fixed[n] for n in names]).T,
    )


def test_forced_strategies_by_hand() -> None:
    """Pi is a softmax over label logits; above the threshold one label is named."""
    tree = recorded([spelled({"safe": 1.0})])
    tree.arrays["label_logits"] = np.array([[3.0, 1.0, 0.0, 2.0]])
    pi = np.exp([3.0, 1.0, 0.0, 2.0]) / np.exp([3.0, 1.0, 0.0, 2.0]).sum()
    doubt = -sum(a / 5.0 * (digamma(a + 1) - digamma(6.0)) for a in (3.0, 2.0))
    expected = {
        "probability_uncertainty": 1 / (1 + pi.max()),
        "entropy_uncertainty": -(pi * np.log(pi)).sum(),
        "logtoku": 2 / (2 + 5.0) / doubt,
    }
    for name, value in expected.items():
        for above in (False, True):
            options = OriginalOptions(threshold=value - 1e-9 if above else value)
            context = Context(task="prompt_harm", options=options)
            result = STRATEGIES[name](EvidenceBundle({SeedTree: tree}), context)
            assert result.uncertainty is not None
            assert_allclose([value], result.uncertainty)
            assert result.categories is not None
            assert [
                [1.0, 0.0, 0.0, 0.0 if above else 1.0]
            ] == result.categories.tolist()


def test_samples_are_searched_together_as_alone() -> None:
    """A batch gives what its samples give alone."""
    tables = [Peaked(seed) for seed in range(4)]
    together = recorded(tables)
    for row, table in enumerate(tables):
        alone = recorded([table])
        for name in SeedTree.SCHEMA:
            assert_array_equal(alone[name], together.select([row])[name], name)


def test_threshold_is_the_best_of_all() -> None:
    """Trying every threshold by hand finds no better micro-F1."""
    rng = np.random.default_rng(2)
    for size in (1, 2, 30):
        unsure = rng.integers(5, size=size) / 4.0
        best = np.array([rng.permutation(4)[:2] for _ in range(size)])
        truth = rng.random((size, 4)) < 0.4

        def score(t: float, u: Any = unsure, b: Any = best, y: Any = truth) -> float:
            named = np.zeros(y.shape, dtype=bool)
            for row, pair in enumerate(b):
                named[row, pair[: 1 if u[row] > t else 2]] = True
            return float(2 * (named & y).sum() / max(named.sum() + y.sum(), 1))

        result = best_threshold(unsure, best, truth)
        assert score(result) == pytest.approx(
            max(score(t) for t in [-np.inf, *unsure.tolist()])
        )
