"""Explored trees of table models: batches, columns, failures and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.evidence import VerdictTree
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer, explore
from safebench.verdict_tree.grammar import Grammar
from safebench.verdict_tree.tree import EXPANDED, GREEDY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    BuildModel = Callable[..., TableModel]

EXACT = ExploreOptions(eps=0.0, max_nodes=None)
PIECES = ["safe", "unsafe", "\n", "S", "1", "0", ",S", "x"]
LABELS = ("S1", "S10")


def random_model(rng: np.random.Generator, prompts: int) -> TableModel:
    """Return a model that goes on at random for five tokens, on several prompts."""
    width = len(PIECES) + 1

    def table() -> dict[tuple[int, ...], Sequence[float]]:
        rows: dict[tuple[int, ...], Sequence[float]] = {}
        prefixes: list[tuple[int, ...]] = [()]
        for _ in range(5):
            for prefix in prefixes:
                rows[prefix] = rng.dirichlet(np.full(width, 0.3)).tolist()
            prefixes = [(*s, t) for s in prefixes for t in rng.integers(width, size=4)]
        return rows

    token_bytes = [*(text.encode() for text in PIECES), b""]
    return TableModel(token_bytes, len(PIECES), [table() for _ in range(prompts)])


@pytest.mark.slow
@pytest.mark.parametrize("prompts", [1, 3, 20])
def test_forward_calls_do_not_grow_with_the_batch(prompts: int) -> None:
    """However many prompts, a batch takes at most one pass a token and one to start."""
    model = random_model(np.random.default_rng(0), prompts)
    options = ExploreOptions(eps=1e-3, max_tokens=7)
    exploration = explore(
        model, [[i] for i in range(prompts)], llama_guard(LABELS), options
    )

    assert model.forward_calls <= 2 + 7
    assert_allclose(
        model.forward_calls, sum(stats.forward_passes for stats in exploration.stats)
    )


@pytest.mark.slow
def test_a_tree_does_not_depend_on_its_batch() -> None:
    """Every prompt's columns are bit for bit those of a batch of its own."""
    model = random_model(np.random.default_rng(1), 12)
    explorer = TreeExplorer(model, llama_guard(LABELS), ExploreOptions(eps=1e-2))
    together = explorer.explore([[i] for i in range(12)])
    for i in (11, 0, 5):
        alone = explorer.explore([[i]])
        assert alone.stats[0].raw == together.stats[i].raw
        assert alone.stats[0].tokens == together.stats[i].tokens
        for name in set(VerdictTree.SCHEMA) - VerdictTree.OPTIONAL:
            assert_array_equal(alone.tree[name], together.tree.select([i])[name], name)


def test_parents_come_first_and_expanded_nodes_are_listed() -> None:
    """The columns of every sample form a tree, in an order that can be scanned."""
    model = random_model(np.random.default_rng(2), 6)
    tree = explore(model, [[i] for i in range(6)], llama_guard(LABELS)).tree
    for row in range(6):
        sample = tree.select([row])
        assert -1 == sample["parent"][0]
        assert (sample["parent"] < np.arange(len(sample["parent"]))).all()
        assert_array_equal(np.nonzero(sample["status"] == EXPANDED)[0], sample["node"])
        greedy = np.nonzero(sample["flags"][sample["node"]] & GREEDY)[0]
        assert_array_equal(sample["node"][greedy], sample["greedy_node"])


def test_top_logits_are_recorded_on_the_greedy_path() -> None:
    """The K largest logits are stored, largest first, with their ids."""
    model = random_model(np.random.default_rng(3), 1)
    options = ExploreOptions(top_k=3)
    tree = explore(model, [[0]], llama_guard(LABELS), options).tree
    logits = model.open([[0]]).root_logits()[0]
    order = np.argsort(-logits, kind="stable")[:3]

    assert_array_equal(order, tree["top_ids"][0])
    assert_allclose(logits[order], tree["top_logits"][0], rtol=1e-6)


def test_log_norm_and_entropy_cover_the_vocabulary() -> None:
    """The root's log-sum-exp is that of all logits, its entropy that of all tokens."""
    model = random_model(np.random.default_rng(4), 1)
    tree = explore(model, [[0]], llama_guard(LABELS)).tree
    p = np.exp(model.open([[0]]).root_logits()[0])
    p = p[p > 0]

    assert_allclose(0.0, tree["log_norm"][0], atol=1e-6)
    assert_allclose(-(p * np.log(p)).sum(), tree["entropy"][0], rtol=1e-6)


class NaNModel(TableModel):
    """A table model whose logits after prompt 1 are NaN from some depth on."""

    def __init__(self, model: TableModel, depth: int) -> None:
        super().__init__(model.token_bytes, min(model.eos), model._tables)
        self.depth = depth

    def open(self, prompts: Sequence[Sequence[int]]) -> Any:
        """Start a session whose logits go bad."""
        session = super().open(prompts)
        logits_of = session._logits

        def spoiled(nodes: Sequence[tuple[int, tuple[int, ...]]]) -> Any:
            logits = logits_of(nodes)
            for i, (row, prefix) in enumerate(nodes):
                if prompts[row][-1] == 1 and len(prefix) >= self.depth:
                    logits[i, 0] = np.nan
            return logits

        session._logits = spoiled  # type: ignore[method-assign]
        return session


@pytest.mark.parametrize("depth", [0, 2])
def test_nan_logits_fail_their_own_sample_only(depth: int) -> None:
    """A prompt whose logits are NaN gets an error and a bare root, others nothing."""
    model = random_model(np.random.default_rng(5), 3)
    whole = explore(model, [[0], [1], [2]], llama_guard(LABELS))
    spoiled = explore(NaNModel(model, depth), [[0], [1], [2]], llama_guard(LABELS))

    assert [None, "the model gave NaN logits", None] == [
        stats.error for stats in spoiled.stats
    ]
    assert 1 == len(spoiled.tree.select([1])["parent"])
    assert_array_equal(
        [[0.0], [1.0]], TreeBounds(spoiled.tree.select([1])).level_bounds([False, True])
    )
    for name in set(VerdictTree.SCHEMA) - VerdictTree.OPTIONAL:
        assert_array_equal(
            whole.tree.select([0, 2])[name], spoiled.tree.select([0, 2])[name], name
        )


def test_max_nodes_limits_expansion_and_is_sound() -> None:
    """Fewer nodes leave more open around the same value; the greedy path is whole."""
    model = random_model(np.random.default_rng(6), 1)
    grammar = llama_guard(LABELS)
    exact = TreeBounds(explore(model, [[0]], grammar, EXACT).tree)
    open_masses, greedy = [], []
    for max_nodes in (0, 3, 10, None):
        options = ExploreOptions(eps=0.0, max_nodes=max_nodes, force_canonical=False)
        exploration = explore(model, [[0]], grammar, options)
        bounds = TreeBounds(exploration.tree)
        lower, upper = bounds.label_bounds
        assert (lower <= exact.label_bounds.lower + 1e-12).all()
        assert (exact.label_bounds.lower <= upper + 1e-12).all()
        open_masses.append(bounds.open_mass[0])
        greedy.append(exploration.stats[0].raw)

    assert sorted(open_masses, reverse=True) == open_masses
    assert open_masses[0] > open_masses[-1]
    assert 1 == len(set(greedy))


def test_evidence_names_what_it_depends_on() -> None:
    """The meta of a tree holds the grammar, the token limit and the stopping rule."""
    model = random_model(np.random.default_rng(7), 1)
    grammar = llama_guard(LABELS)
    meta = explore(
        model, [[0]], grammar, ExploreOptions(eps=0.01, max_tokens=4)
    ).tree.meta

    assert grammar == Grammar.from_json(meta["grammar"])
    assert (4, {"rule": "eps", "eps": 0.01, "max_nodes": 256}) == (
        meta["D"],
        meta["stop"],
    )
