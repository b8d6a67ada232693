"""The greedy path of a tree, as a service with top-k log-probabilities gives it."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from safebench.evidence import GreedyPath, VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import model_from_texts
from safebench.verdict_tree.bounds import TreeBounds
from safebench.verdict_tree.explorer import ExploreOptions, explore

if TYPE_CHECKING:
    from safebench.verdict_tree.grammar import Grammar

PIECES = ["safe", "unsafe", "\n", "S", "1", "2", "10", ",", "0"]
EOS = len(PIECES)
ODDS = {"unsafe|\n|S|1": 0.5, "unsafe|\n|S|2|,|S|1": 0.1, "safe": 0.4}


def trees(
    *probabilities: dict[str, float], grammar: Grammar | None = None
) -> VerdictTree:
    """Return the trees of models that write texts with given probabilities."""
    model, options = (
        model_from_texts(PIECES, *probabilities),
        ExploreOptions(eps=0.0, max_tokens=9),
    )
    prompts = [[i] for i in range(len(probabilities))]
    grammar = grammar or llama_guard(("S1", "S2", "S10"), opener="")
    return explore(model, prompts, grammar, options).tree


def path(*probabilities: dict[str, float]) -> GreedyPath:
    """Derive the greedy path as a strategy would."""
    return EvidenceBundle({VerdictTree: trees(*probabilities)})[GreedyPath]


def test_tokens_are_those_written_the_last_one_included() -> None:
    """Tokens and log-probabilities are those of the likeliest continuation."""
    greedy = path({"safe": 0.7, "unsafe|\n|S|2": 0.3}, ODDS)

    assert [0, 2, 7] == greedy.offsets["T"].tolist()
    assert [0, EOS, 1, 2, 3, 4, EOS] == greedy["token"].tolist()
    assert_allclose([0.7, 1, 0.6, 1, 1, 5 / 6, 1], np.exp(greedy["logp"]))


def test_alternatives_are_the_likeliest_tokens() -> None:
    """At the first token: unsafe .6 before safe .4, and nothing else."""
    greedy = path(ODDS)

    assert [1, 0] == greedy["top_ids"][0, :2].tolist()
    assert_allclose([0.6, 0.4, 0.0], np.exp(greedy["top_logp"][0, :3]), atol=1e-7)
    assert_allclose([0.6, 0.4, 0.0], np.exp(greedy["logits"][0, :3]), atol=1e-7)
    assert_allclose(0.0, greedy["log_norm"], atol=1e-7)
    assert_allclose(
        -0.6 * np.log(0.6) - 0.4 * np.log(0.4), greedy["entropy"][0], rtol=1e-6
    )


def test_label_logits_are_those_at_the_first_slot() -> None:
    """S1 5/6 and S2 1/6 follow the S; S10 has its own token, which is never written."""
    greedy = path(ODDS)

    assert ["S1", "S2", "S10"] == greedy.meta["labels"]
    assert_allclose([[5 / 6, 1 / 6, 0.0]], np.exp(greedy["label_logits"]), atol=1e-12)


def test_labels_that_share_a_token_have_no_logits() -> None:
    """Where 20 is written as 2 and 0, neither S2 nor S20 has its own first token."""
    tree = trees(ODDS, grammar=llama_guard(("S1", "S2", "S20"), opener=""))
    greedy = EvidenceBundle({VerdictTree: tree})[GreedyPath]

    assert [[False, True, True]] == np.isnan(greedy["label_logits"]).tolist()


def test_a_verdict_without_labels_has_a_canonical_slot() -> None:
    """Label logits of a safe verdict are those below the forced unsafe."""
    greedy = path({"safe": 0.9, "unsafe|\n|S|2": 0.1})

    assert_array_equal([[0.0, 1.0, 0.0]], np.exp(greedy["label_logits"]))


@pytest.mark.slow
def test_derived_values_live_as_long_as_the_evidence() -> None:
    """Two bundles share the derived path and the bounds; both go when the tree does."""
    tree = trees(ODDS)
    first, second = (EvidenceBundle({VerdictTree: tree})[GreedyPath] for _ in range(2))
    bounds = weakref.ref(tree.cached(TreeBounds))

    assert first is second
    assert tree.cached(TreeBounds) is bounds()
    assert tree.select([0]).cached(TreeBounds) is not bounds()
    del tree, first, second
    gc.collect()
    assert bounds() is None
