"""Sessions that take over prompts of others read each prompt as if alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.evidence import VerdictTree
from safebench.testing.grammars import llama_guard
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer
from safebench.verdict_tree.session import SessionHandles
from safebench_llamaguard_marginal.model.hf_model import HfModel
from safebench_llamaguard_marginal.model.kv_columns import keep_used_columns

PIECES = [b"", b"safe", b"unsafe", b"\n", b"\n\n", b"S", b"1", b"2", b"0", b",S", b"x"]
GRAMMAR = llama_guard(("S1", "S2", "S10", "S20"))
BUDGET = 9
Builder = Callable[..., HfModel]


@pytest.fixture(scope="module")
def model_of(make_network: Callable[..., Any]) -> Builder:
    """Return what builds the engine's view of a random float64 guard of 11 tokens."""

    def build(prefixes: Any = ((6, 7, 8),), layout: Any = "tree") -> HfModel:
        network = make_network(len(PIECES), seed=1).double()
        return HfModel(network, PIECES, {0}, prefixes, layout)

    return build


def prompts(count: int) -> list[tuple[int, ...]]:
    """Return prompts of many lengths, longest first; some share a prefix of three."""
    rng = np.random.default_rng(0)
    lengths = sorted(rng.integers(2, 14, size=count).tolist(), reverse=True)
    heads = ((6, 7, 8), (6, 7, 9), (6, 7, 8))
    return [
        (*heads[i % 3], *rng.integers(5, 11, size=n).tolist())
        for i, n in enumerate(lengths)
    ]


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many prompts were live whenever others joined them."""
    live: list[int] = []
    join = SessionHandles.join

    def noted(self: SessionHandles, other: SessionHandles) -> None:
        session: Any = self._session
        live.append(len(session._prompts) - len(session._dropped))
        join(self, other)

    monkeypatch.setattr(SessionHandles, "join", noted)
    return live


WAYS = [("tree", True), ("tree", False), ("rows", False)]
DRAFTS = [(*way, None) for way in WAYS] + [(*way, "\n\n") for way in WAYS[:2]]


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "packs", "draft"), DRAFTS)
@pytest.mark.parametrize("prefixes", [(), ((6, 7, 8),), ((6, 7, 8), (6, 7, 9, 5))])
def test_refilled_trees_are_those_of_one_batch(
    model_of: Builder,
    joined: list[int],
    layout: str,
    packs: bool,
    prefixes: Any,
    draft: str | None,
) -> None:
    """Whoever joins whom, in any layout: the same nodes and values."""
    options = ExploreOptions(eps=0.1, max_tokens=BUDGET, draft_opener=draft)
    prompt_ids = prompts(24)
    explorations = []
    for budget in (None, 300 if draft else 80):
        model = model_of(prefixes, layout)
        model._unpadded &= packs
        explorer = TreeExplorer(model, GRAMMAR, options)
        explorations.append(explorer.explore(prompt_ids, budget))

    assert 3 <= sum(live > 0 for live in joined)
    whole, refilled = (one.tree for one in explorations)
    assert_array_equal(whole.offsets["N"], refilled.offsets["N"])
    for row in range(len(prompt_ids)):
        one, two = whole.select([row]), refilled.select([row])
        for name in ("parent", "token", "state", "flags", "status"):
            assert_array_equal(one[name], two[name], name)
        assert_allclose(one["logp"], two["logp"], atol=1e-12)
    assert_allclose(
        TreeBounds(whole).open_mass, TreeBounds(refilled).open_mass, atol=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "packs"), WAYS)
def test_refilling_is_repeatable(model_of: Builder, layout: str, packs: bool) -> None:
    """The same prompts and budget give the same bytes."""
    explorations = []
    for _ in range(2):
        model = model_of(layout=layout)
        model._unpadded &= packs
        explorer = TreeExplorer(
            model, GRAMMAR, ExploreOptions(eps=0.1, max_tokens=BUDGET)
        )
        explorations.append(explorer.explore(prompts(24), 80).tree)

    for name in set(VerdictTree.SCHEMA) - VerdictTree.OPTIONAL:
        assert_array_equal(explorations[0][name], explorations[1][name], name)


@pytest.mark.slow
def test_a_refilled_cache_stays_small(model_of: Builder, joined: list[int]) -> None:
    """What finished prompts and their nodes took is left out when others join."""
    model = model_of()
    model._unpadded = False
    widest: list[int] = []
    forward = model.forward

    def watched(tokens: Any, positions: Any, visible: Any, *rest: Any) -> Any:
        widest.append(visible.shape[2])
        return forward(tokens, positions, visible, *rest)

    model.forward = watched  # type: ignore[method-assign]
    explorer = TreeExplorer(model, GRAMMAR, ExploreOptions(eps=0.1, max_tokens=BUDGET))
    explorer.explore(prompts(24), 80)
    few = max(widest)
    explorer.explore([p for p in prompts(24) for _ in range(6)], 80)

    assert 5 < sum(live > 0 for live in joined)
    assert max(widest) <= 1.5 * few


def test_used_columns_by_hand() -> None:
    """Rows keep what they use, in order, and know where it went."""
    used = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1]], dtype=bool)

    kept = keep_used_columns(np.array([0, 2]), used)

    assert [2, 2] == kept.used_count.tolist()
    assert [[0, 2], [2, 3]] == kept.columns.tolist()
    assert [0, 1] == kept.new_column[0][[0, 2]].tolist()
