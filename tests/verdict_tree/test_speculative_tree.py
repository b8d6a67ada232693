"""Canonical verdicts that are run along with the prompt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.evidence import VerdictTree
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer
from safebench.verdict_tree.grammar import Grammar, Level
from safebench.verdict_tree.stopping import GapStop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LEVELS = (Level(name="safe"), Level(name="unsafe", takes_labels=True, positive=True))


def models(case: dict[str, Any], prompts: int = 1) -> TableModel:
    """Return the model of an enumerated case, on some equal prompts."""
    table = {tuple(map(int, prefix.split())): p for prefix, p in case["model"].items()}
    token_texts = [text.encode() for text in case["vocabulary"]["pieces"]]
    return TableModel(token_texts, case["vocabulary"]["eos"], [table] * prompts)


class Undrafted:
    """A model without `open_with_draft`."""

    def __init__(self, model: TableModel) -> None:
        self._model = model
        self.token_bytes, self.eos = model.token_bytes, model.eos

    @property
    def forward_calls(self) -> int:
        """Return those of the model."""
        return self._model.forward_calls

    def open(self, prompts: Sequence[Sequence[int]]) -> Any:
        """Start a session without a draft."""
        return self._model.open(prompts)


def columns(tree: VerdictTree) -> list[tuple[Any, ...]]:
    """Return a one-sample tree's nodes as paths with their columns, sorted."""
    paths: list[tuple[int, ...]] = []
    for parent, token in zip(tree["parent"], tree["token"], strict=True):
        paths.append((*paths[parent], int(token)) if parent >= 0 else ())
    names = ("logp", "state", "level", "label", "labels_mask", "flags", "status")
    rows = zip(*(tree[name].tolist() for name in names), strict=True)
    return sorted((path, *row) for path, row in zip(paths, rows, strict=True))


def test_a_draft_changes_only_the_cost(strict_case: dict[str, Any]) -> None:
    """The same nodes with the same values, in no more forward passes."""
    grammar = Grammar.from_json(strict_case["grammar"])
    plain_options = ExploreOptions(
        eps=0.01, max_nodes=None, max_tokens=strict_case["D"]
    )
    model = models(strict_case)
    plain_exploration = TreeExplorer(model, grammar, plain_options).explore([[0]])
    forward_calls = model.forward_calls
    for opener in grammar.openers:
        drafted = models(strict_case)
        exploration = TreeExplorer(
            drafted, grammar, replace(plain_options, draft_opener=opener)
        ).explore([[0]])
        assert columns(plain_exploration.tree) == columns(exploration.tree)
        assert_allclose(
            TreeBounds(plain_exploration.tree).open_mass,
            TreeBounds(exploration.tree).open_mass,
            atol=1e-12,
        )
        assert drafted.forward_calls <= forward_calls
        assert drafted.forward_calls == exploration.stats[0].forward_passes


def test_a_canonical_verdict_takes_the_first_pass_alone(
    build_model: Callable[..., TableModel],
) -> None:
    """Where the guard writes what was drafted, no other pass is run."""
    token_texts = ["safe", "unsafe", "\n", "S", "1", "2"]
    table = {
        "": {"unsafe": 0.9, "safe": 0.1},
        "safe": {"$": 1.0},
        "unsafe": {"\n": 1.0},
        "unsafe|\n": {"S": 1.0},
        "unsafe|\n|S": {"1": 0.7, "2": 0.3},
        "unsafe|\n|S|1": {"$": 1.0},
        "unsafe|\n|S|2": {"$": 1.0},
    }
    forward_calls = {}
    for opener in (None, ""):
        model = build_model(token_texts, table, table)
        options = ExploreOptions(max_tokens=6, draft_opener=opener)
        grammar = Grammar(levels=LEVELS, labels=("S1", "S2"))
        exploration = TreeExplorer(model, grammar, options).explore([[0], [1]])
        assert_allclose(
            [[0.63, 0.27]] * 2, TreeBounds(exploration.tree).label_bounds.lower
        )
        forward_calls[opener] = model.forward_calls

    assert {None: 5, "": 1} == forward_calls


def test_a_model_without_drafts_is_run_as_before(strict_case: dict[str, Any]) -> None:
    """The option is ignored where the model cannot follow it."""
    grammar = Grammar.from_json(strict_case["grammar"])
    options = ExploreOptions(max_tokens=strict_case["D"])
    model = Undrafted(models(strict_case))
    plain_options = TreeExplorer(model, grammar, options).explore([[0]]).tree
    drafted = (
        TreeExplorer(model, grammar, replace(options, draft_opener=""))
        .explore([[0]])
        .tree
    )
    for name in set(VerdictTree.SCHEMA) - VerdictTree.OPTIONAL:
        assert_array_equal(plain_options[name], drafted[name], name)


@pytest.mark.slow
def test_drafted_trees_do_not_depend_on_their_batch(
    strict_case: dict[str, Any],
) -> None:
    """With best-first waves and Monte Carlo samples too."""
    grammar = Grammar.from_json(strict_case["grammar"])
    options = ExploreOptions(
        eps=1e-3,
        max_tokens=strict_case["D"],
        draft_opener="",
        mc_samples=5,
        stopping_rule=GapStop(width=2),
    )
    explorer = TreeExplorer(models(strict_case, 3), grammar, options)
    together = explorer.explore([[0], [1], [2]]).tree
    alone = explorer.explore([[2]]).tree
    assert alone.arrays.keys() == together.arrays.keys()
    for name in alone.arrays:
        assert_array_equal(alone[name], together.select([2])[name], name)
    assert np.diff(together.offsets["R"]).max() <= 5
