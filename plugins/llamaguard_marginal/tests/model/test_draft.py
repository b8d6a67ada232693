"""A draft behind the prompts saves passes and changes no tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from safebench.testing.grammars import llama_guard
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import Exploration, ExploreOptions, TreeExplorer
from safebench.verdict_tree.stopping import GapStop
from safebench_llamaguard_marginal.model.hf_model import HfModel
from safebench_llamaguard_marginal.model.kv_columns import node_depths
from safebench_llamaguard_marginal.model.per_prompt_session import ancestor_mask
from safebench_llamaguard_marginal.model.torch_logits import TorchLogitSummarizer

PIECES = [b"", b"safe", b"unsafe", b"\n", b"\n\n", b"S", b"1", b"2", b"0", b",S", b"x"]
PROMPTS = [(6, 7, 8, 9, 10, 6), (6, 7), (6, 7, 8, 10), (6, 7, 8, 9, 6, 6, 7, 8, 8)]
GRAMMAR = llama_guard(("S1", "S2", "S10", "S20"))
Builder = Callable[..., HfModel]


@pytest.fixture(scope="module")
def model_of(make_network: Callable[..., Any]) -> Builder:
    """Return what builds the engine's view of a random float64 guard of 11 tokens."""

    def build(
        prefixes: Any = ((6, 7, 8),), pieces: Any = PIECES, **changes: Any
    ) -> Any:
        network = make_network(len(pieces), seed=2, **changes).double()
        return HfModel(network, pieces, {0}, prefixes)

    return build


def table(exploration: Exploration, row: int) -> dict[tuple[int, ...], tuple[Any, ...]]:
    """Return a prompt's nodes by their path: what each column says of them."""
    tree = exploration.tree.select([row])
    paths: list[tuple[int, ...]] = []
    for parent, token in zip(tree["parent"], tree["token"], strict=True):
        paths.append((*paths[parent], int(token)) if parent >= 0 else ())
    names = ("state", "level", "label", "labels_mask", "slot", "flags", "status")
    rows = zip(*(tree[name].tolist() for name in names), strict=True)
    return dict(zip(paths, rows, strict=True))


def logps(exploration: Exploration, row: int) -> dict[tuple[int, ...], float]:
    """Return the log-probability of every node of a prompt, by its path."""
    tree = exploration.tree.select([row])
    return dict(zip(table(exploration, row), tree["logp"].tolist(), strict=True))


@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("prefixes", [(), ((6, 7, 8),)])
@pytest.mark.parametrize(("opener", "eps"), [("", 0.2), ("\n\n", 0.02)])
@pytest.mark.parametrize("on_device", [False, True])
def test_trees_are_the_same_in_fewer_passes(
    model_of: Builder,
    packs: bool,
    prefixes: Any,
    opener: str,
    eps: float,
    on_device: bool,
) -> None:
    """Packed or masked, with prompts that finish early: equal nodes, equal values."""
    options = ExploreOptions(eps=eps, max_tokens=9)
    explorations, calls = [], []
    for draft in (None, opener):
        model = model_of(prefixes)
        model._unpadded &= packs
        model.on_device = on_device
        before = model.forward_calls
        digester = {"summarize": TorchLogitSummarizer()} if on_device else {}
        explorer = TreeExplorer(
            model, GRAMMAR, replace(options, draft_opener=draft), **digester
        )
        explorations.append(explorer.explore(PROMPTS))
        calls.append(model.forward_calls - before)

    assert calls[1] <= calls[0] - 4
    assert_allclose(
        TreeBounds(explorations[0].tree).open_mass,
        TreeBounds(explorations[1].tree).open_mass,
        atol=1e-12,
    )
    for row in range(len(PROMPTS)):
        assert table(explorations[0], row) == table(explorations[1], row)
        without, drafted = logps(explorations[0], row), logps(explorations[1], row)
        for path, value in without.items():
            assert value == pytest.approx(drafted[path], abs=1e-12)
        assert explorations[0].stats[row].tokens == explorations[1].stats[row].tokens


def test_draws_go_on_from_drafted_nodes(model_of: Builder) -> None:
    """What is drawn from the rest of a tree is the same with a draft."""
    options = ExploreOptions(
        eps=0.05, max_tokens=9, mc_samples=8, stopping_rule=GapStop(width=2)
    )
    without = TreeExplorer(model_of(), GRAMMAR, options).explore(PROMPTS)
    drafting = replace(options, draft_opener="\n\n")
    drafted = TreeExplorer(model_of(), GRAMMAR, drafting).explore(PROMPTS)

    for name in ("mc_level", "mc_labels", "mc_first"):
        assert np.array_equal(without.tree[name], drafted.tree[name])


def test_an_opener_that_melts_into_the_level_is_not_drafted(model_of: Builder) -> None:
    """Where tokens differ with what follows, the prompts are read as without one."""
    pieces = [*PIECES, b"\n\nsafe"]
    options = ExploreOptions(eps=0.02, max_tokens=9)
    calls = {}
    for draft in (None, "\n\n"):
        model = model_of(pieces=pieces)
        TreeExplorer(model, GRAMMAR, replace(options, draft_opener=draft)).explore(
            PROMPTS
        )
        calls[draft] = model.forward_calls

    assert calls[None] == calls["\n\n"]


def test_an_opener_without_tokens_is_not_drafted(model_of: Builder) -> None:
    """An opener that no piece spells leaves everything as it is."""
    model = model_of()
    grammar = replace(GRAMMAR, openers=("", " "))
    options = ExploreOptions(eps=0.02, max_tokens=9, draft_opener=" ")

    explorations = TreeExplorer(model, grammar, options).explore(PROMPTS)

    assert len(PROMPTS) == len(explorations.tree)


def test_drafted_logits_are_those_of_plain_passes(model_of: Builder) -> None:
    """Every branch of a static tree is read as if it stood alone behind its prompt."""
    model = model_of()
    parents, tokens = np.array([-1, -1, 0, 0, 2]), np.array([2, 3, 4, 5, 6])
    paths = [(2,), (3,), (2, 4), (2, 5), (2, 4, 6)]

    drafted = model.open_with_draft(PROMPTS, parents, tokens).draft_logits()

    for row, prompt in enumerate(PROMPTS):
        for node, path in enumerate(paths):
            model._head.selected = None
            with torch.no_grad():
                out = model.network(torch.tensor([[*prompt, *path]]), use_cache=False)
            expected = out.logits[0, -1].numpy()
            assert expected == pytest.approx(drafted[row, node], abs=1e-11)


def test_a_static_tree_by_hand() -> None:
    """Depths count from the prompt; a node sees its ancestors and itself."""
    parents = np.array([-1, 0, 0, 2])

    assert [1, 2, 2, 3] == node_depths(parents).tolist()
    assert [[0], [0, 1], [0, 2], [0, 2, 3]] == [
        np.flatnonzero(seen).tolist() for seen in ancestor_mask(parents)
    ]
