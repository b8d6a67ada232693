"""Lean trees: nothing forced after unlikely openers, exponentials in float32.

Against the enumerated values of the table models, and against the full summaries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.testing.failure_modes import malformed
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer
from safebench.verdict_tree.grammar import Grammar
from safebench.verdict_tree.logits import LogitQuery, LogitSummarizer
from safebench.verdict_tree.quick_logits import QuickLogitSummarizer
from safebench.verdict_tree.tree import EXPANDED, FORCED, GREEDY, LEVEL_START
from safebench.verdict_tree.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

FLOAT32 = 1e-6
EXACT = 1e-12


class NarrowSession:
    """A session whose logits are float32, as those of a network."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __getattr__(self, name: str) -> Any:
        called = getattr(self.session, name)
        if name not in ("root_logits", "expand", "draft_logits"):
            return called
        return lambda *args: called(*args).astype(np.float32)


class NarrowModel(TableModel):
    """A table model with logits in float32."""

    def open(self, prompts: Any) -> Any:
        """Return a session for prompts."""
        return NarrowSession(super().open(prompts))


def grown(case: dict[str, Any], eps: float, floor: float, *, quick: bool) -> Any:
    """Return the tree of a case."""
    vocabulary = case["vocabulary"]
    rows = {tuple(map(int, path.split())): p for path, p in case["model"].items()}
    token_bytes = [text.encode() for text in vocabulary["pieces"]]
    model = (NarrowModel if quick else TableModel)(
        token_bytes, vocabulary["eos"], [rows]
    )
    options = ExploreOptions(
        eps=eps, max_nodes=None, max_tokens=case["D"], forced_floor=floor
    )
    summarize = QuickLogitSummarizer() if quick else None
    grammar = Grammar.from_json(case["grammar"])
    return TreeExplorer(model, grammar, options, summarize=summarize).explore([[0]])


@pytest.mark.parametrize(("eps", "floor"), [(0.0, 1e-6), (1e-2, 0.5)])
def test_bounds_hold_the_enumerated_value(
    case: dict[str, Any], eps: float, floor: float
) -> None:
    """Lower <= truth <= upper, and the parts of the tree add up to 1."""
    expected = case["expected"]
    for quick in (False, True):
        bounds = TreeBounds(grown(case, eps, floor, quick=quick).tree)
        slack = FLOAT32 if quick else 1e-9
        grammar = bounds.automaton.grammar
        pairs = [
            (expected["positive"], bounds.level_bounds(grammar.positive_mask(""))),
            (expected["invalid"], bounds.invalid_bounds),
            ([[expected["A"][x] for x in grammar.labels]], bounds.label_bounds),
        ]
        if expected["malformed"] is not None:
            pairs.append((expected["malformed"], malformed(bounds)))
        for value, (lower, upper) in pairs:
            assert (lower <= np.array(value) + slack).all()
            assert (np.array(value) <= upper + slack).all()
        assert_allclose(bounds.partition.mass.sum(), 1.0, rtol=0, atol=EXACT)


@pytest.mark.parametrize("floor", [1e-6, 0.5])
def test_only_what_follows_unlikely_openers_is_left_out(
    strict_case: dict[str, Any], floor: float
) -> None:
    """Of a full tree's expanded nodes, all others are there, with the same values."""
    eps = 1e-2
    full = grown(strict_case, eps, 0.0, quick=False).tree
    lean = grown(strict_case, eps, floor, quick=False).tree
    by_path, lean_by_path = (dict(paths(t)) for t in (full, lean))

    assert lean_by_path.keys() <= by_path.keys()
    mass = np.exp(path_logps(full))
    for path, node in by_path.items():
        if path in lean_by_path:
            continue
        ancestors = [by_path[path[:n]] for n in range(len(path))]
        openers = [a for a in ancestors if full["flags"][a] & LEVEL_START]
        forced = full["flags"] & FORCED > 0
        levels = [mass[forced & (full["parent"] == a)].sum() for a in openers]
        assert mass[node] < floor
        assert min(levels) < floor
    # where the greedy verdict begins, nothing is missing
    for path, node in by_path.items():
        if full["flags"][node] & GREEDY and full["status"][node] == EXPANDED:
            assert lean["status"][lean_by_path[path]] == EXPANDED


def paths(tree: Any) -> list[tuple[tuple[int, ...], int]]:
    """Return the tokens to each node of a tree of one sample."""
    found: list[tuple[int, ...]] = []
    for parent, token in zip(tree["parent"], tree["token"], strict=True):
        found.append((*found[parent], int(token)) if parent >= 0 else ())
    return [(path, i) for i, path in enumerate(found)]


def path_logps(tree: Any) -> np.ndarray:
    """Return the log-probability of the path to each node."""
    logps: list[float] = []
    for parent, logp in zip(tree["parent"], tree["logp"], strict=True):
        logps.append((logps[parent] if parent >= 0 else 0.0) + float(logp))
    return np.array(logps)


def test_an_unlikely_opener_keeps_its_levels(build_model: Callable[..., Any]) -> None:
    """Their own probabilities are known; below them nothing is run."""
    rare = 1e-7
    table = {
        "": {"\n": 1 - 3 * rare, "safe": rare, "unsafe": 2 * rare},
        "\n": {"safe": 0.6, "unsafe": 0.4},
        "\n|safe": {"$": 1.0},
        "\n|unsafe": {"\n": 1.0},
        "\n|unsafe|\n": {"S1": 1.0},
        "\n|unsafe|\n|S1": {"$": 1.0},
    }
    model = build_model(["\n", "safe", "unsafe", "S1"], table)
    grammar = Grammar.from_json(GRAMMAR)
    options = ExploreOptions(eps=1e-3, forced_floor=1e-6)

    lean = TreeExplorer(model, grammar, options).explore([[0]])
    full = TreeExplorer(model, grammar, replace(options, forced_floor=0.0)).explore(
        [[0]]
    )

    status = {path: lean.tree["status"][i] for path, i in paths(lean.tree)}
    assert status[1,] != EXPANDED != status[2,]
    assert status[0, 1] == status[0, 2] == status[0, 2, 0, 3] == EXPANDED
    logp = {path: lean.tree["logp"][i] for path, i in paths(lean.tree)}
    assert_allclose(np.exp([logp[1,], logp[2,]]), [rare, 2 * rare], rtol=1e-9)
    assert lean.stats[0].tokens < full.stats[0].tokens
    # an opener with which the greedy verdict begins has all, whatever its probability
    whole = replace(options, eps=0.5, forced_floor=1.0)
    tree = TreeExplorer(model, grammar, whole).explore([[0]]).tree
    assert tree["status"][dict(paths(tree))[0, 2, 0, 3]] == EXPANDED
    assert lean.tree.meta["forced_floor"] == 1e-6
    assert "forced_floor" not in full.tree.meta


GRAMMAR = {
    "levels": [
        {"name": "safe", "positive": False, "takes_labels": False},
        {"name": "unsafe", "positive": True, "takes_labels": True},
    ],
    "openers": ["", "\n"],
    "intro": "\n",
    "labels": ["S1"],
    "separators": [","],
    "mode": "strict",
}


# ------------------------------------------------------------------- summaries
def summaries(logits: np.ndarray, state: np.ndarray) -> list[Any]:
    """Return what both summarizers say of float32 logits over a small vocabulary."""
    texts = ["\n", "safe", "unsafe", "un", "S", "1", "S1", ",", "x", *"abcdefgh"]
    texts += [f"w{i}" for i in range(logits.shape[1] - len(texts) - 1)]
    model = TableModel([*(t.encode() for t in texts), b""], len(texts), [{}])
    vocabulary = Vocabulary.of_model(Grammar.from_json(GRAMMAR), model)
    rng = np.random.default_rng(1)
    count = len(logits)
    states = np.arange(len(vocabulary.automaton.allows_level))
    query = LogitQuery(
        state=states[state % len(states)],
        min_probability=np.where(rng.random(count) < 0.2, np.inf, 1e-3),
        greedy=rng.random(count) < 0.5,
        forced_node=np.repeat(np.arange(count), 2),
        forced_token=np.tile([1, 2], count),
        top_k=4,
    )
    return [make()(logits, query, vocabulary) for make in (LogitSummarizer, Quick)]


Quick = QuickLogitSummarizer


@pytest.mark.parametrize("scale", [0.1, 4.0, 30.0])
def test_quick_summaries_are_those_of_the_base_class(scale: float) -> None:
    """The same tokens are listed; values differ by float32 rounding, sums do not."""
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(300, 500)) * scale).astype(np.float32)
    logits[5, :400] = -np.inf
    state = rng.integers(0, 1000, 300)

    base, quick = summaries(logits, state)

    for name in ("node", "token", "argmax", "invalid", "top_ids", "top_logits"):
        np.testing.assert_array_equal(getattr(base, name), getattr(quick, name))
    for name in ("log_norm", "entropy", "kind_masses", "logp"):
        assert_allclose(
            getattr(quick, name), getattr(base, name), rtol=FLOAT32, atol=FLOAT32
        )
    assert_allclose(quick.kind_masses.sum(axis=1), 1.0, rtol=0, atol=EXACT)


def test_rows_without_numbers_are_marked() -> None:
    """NaN, and infinity: what is said of the others stays."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 40)).astype(np.float32)
    logits[1, 3] = np.nan
    logits[2, 4] = np.inf
    logits[3] = -np.inf

    base, quick = summaries(logits, np.zeros(6, dtype=int))

    assert [False, True, True, True, False, False] == quick.invalid.tolist()
    np.testing.assert_array_equal(base.invalid, quick.invalid)
    np.testing.assert_array_equal(base.node, quick.node)
    assert np.isfinite(quick.log_norm).all()
    assert np.isfinite(quick.kind_masses).all()
