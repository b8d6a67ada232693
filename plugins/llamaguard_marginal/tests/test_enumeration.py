"""A small network's trees against every verdict that it could write."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from safebench.testing.grammars import llama_guard
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer
from safebench_llamaguard_marginal.model.hf_model import HfModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.typing import Array

    Path = tuple[int, ...]

PIECES = ["safe", "unsafe", "\n", "1", "0", ","]
EOS, BUDGET = len(PIECES), 5
CODES = ("1", "10", "11")
PROMPTS = [[0, 1, 2, 3], [0, 1, 5, 4, 4, 2, 3], [0, 1, 2, 0, 0]]
PREFIX = (0, 1)


class Written(NamedTuple):
    """What a network writes after a prompt: P of every text, and of what it says."""

    paths: dict[Path, float]
    levels: Array
    labels: Array


@pytest.fixture(scope="module")
def network(make_network: Callable[..., Any]) -> Any:
    """Return a random Llama in float64 with seven tokens, partial to verdicts."""
    network = make_network(EOS + 1, seed=5, eos_token_id=EOS, tie_word_embeddings=False)
    return network.double()


@pytest.fixture(scope="module")
def written(network: Any) -> list[Written]:
    """Enumerate what follows each prompt, with no cache and no padding."""
    return [enumerate_all(network, prompt) for prompt in PROMPTS]


def enumerate_all(network: Any, prompt: list[int]) -> Written:
    """Run every path that has not ended, and read every text that is complete."""
    paths: dict[Path, float] = {(): 1.0}
    for depth in range(BUDGET):
        fronts = list(product(range(EOS), repeat=depth))
        inputs = torch.tensor([[*prompt, *path] for path in fronts])
        with torch.no_grad():
            logits = network(inputs, use_cache=False).logits[:, -1]
        for path, p in zip(fronts, logits.softmax(-1).tolist(), strict=True):
            paths |= {(*path, t): paths[path] * p[t] for t in range(EOS + 1)}
    levels, labels = np.zeros(2), np.zeros(len(CODES))
    for path, p in paths.items():
        over = path[-1:] == (EOS,)
        if over or len(path) == BUDGET:
            level, read = verdict("".join(PIECES[t] for t in path if t != EOS), over)
            levels += p * np.array([level == "safe", level == "unsafe"])
            labels += p * np.array([code in read for code in CODES])
    return Written(paths, levels, labels)


def verdict(text: str, over: bool) -> tuple[str | None, set[str]]:
    """Read a text with regular expressions; `over`: nothing can follow it."""
    word = re.match(r"(?:unsafe|safe)(?![\w-])", text)
    if word and word.end() == len(text) and not over:
        return None, set()  # the word may go on
    if not word or word[0] == "safe":
        return word and word[0], set()
    read, text, joint = set(), text[word.end() :], "\n"
    while match := re.match(rf"{joint}(\d+)(.?)", text, re.DOTALL):
        if match[1] not in CODES or not (match[2] or over):
            break
        read.add(match[1])
        text, joint = text[match.end(1) :], ","
    return "unsafe", read


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize(("prefixes", "layout"), [((), "tree"), ([PREFIX], "rows")])
def test_trees_bound_all_verdicts(
    network: Any, written: list[Written], prefixes: Any, layout: Any, eps: float
) -> None:
    """Nodes have their probability, cuts sum to 1, exact values lie in the bounds."""
    pieces = [*(piece.encode() for piece in PIECES), b""]
    options = ExploreOptions(eps=eps, max_nodes=None, max_tokens=BUDGET)
    model: Any = HfModel(network, pieces, {EOS}, prefixes, layout)
    grammar = llama_guard(CODES, opener="")
    tree = TreeExplorer(model, grammar, options).explore(PROMPTS).tree

    for row, exact in enumerate(written):
        cut = TreeBounds(tree.select([row]))
        expected = [exact.paths[path] for path in paths_of(cut)]
        assert_allclose(expected, cut.mass, rtol=0, atol=1e-12)
        assert_allclose([1.0], cut.partition.mass.sum(), rtol=0, atol=1e-9)
        levels = [cut.level_bounds([i == 0, i == 1]) for i in range(2)]
        bounds = [(one.lower[0], one.upper[0]) for one in levels]
        bounds += zip(*(side[0] for side in cut.label_bounds), strict=True)
        values = [*exact.levels, *exact.labels]
        for (lower, upper), value in zip(bounds, values, strict=True):
            assert lower - 1e-9 <= value <= upper + 1e-9
        if eps == 0:
            lowers = [lower for lower, _ in bounds]
            assert_allclose(values, lowers, rtol=0, atol=1e-9)


def test_the_networks_are_worth_the_comparison(written: list[Written]) -> None:
    """Every level and label is likely enough that a wrong one would show."""
    for one in written:
        assert one.levels.min() > 1e-3
        assert one.labels.min() > 1e-7


def paths_of(cut: TreeBounds) -> list[Path]:
    """Return the tokens that lead to each node of a single tree."""
    tree, out = cut.tree, list[tuple[int, ...]]()
    for parent, token in zip(tree["parent"], tree["token"], strict=True):
        out.append((*out[parent], int(token)) if parent >= 0 else ())
    return out
