"""Monte Carlo samples, from a truncated tree to the estimate of a strategy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from safebench.evidence import VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.strategies.base import Context
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.explorer import ExploreOptions, TreeExplorer
from safebench_llamaguard_marginal.classifier import placeholder_trees
from safebench_llamaguard_marginal.strategies.marginal import (
    MarginalAnyOptions,
    marginal_any,
)

PIECES = [b"safe", b"unsafe", b"\n", b"S", b"1", b"2", b",", b""]
TABLE = {
    (): [0.4, 0.6, 0, 0, 0, 0, 0, 0],
    (0,): [0, 0, 0, 0, 0, 0, 0, 1.0],
    (1,): [0, 0, 1.0, 0, 0, 0, 0, 0],
    (1, 2): [0, 0, 0, 1.0, 0, 0, 0, 0],
    (1, 2, 3): [0, 0, 0, 0, 0.7, 0.3, 0, 0],
    (1, 2, 3, 4): [0, 0, 0, 0, 0, 0, 0, 1.0],
    (1, 2, 3, 5): [0, 0, 0, 0, 0, 0, 0, 1.0],
}


def explorer(eps: float, samples: int) -> TreeExplorer:
    """Return an explorer of a model that says S1 with .42 and S2 with .18."""
    options = ExploreOptions(
        eps=eps, force_canonical=False, max_tokens=6, mc_samples=samples
    )
    model = TableModel(PIECES, 7, [TABLE])
    return TreeExplorer(model, llama_guard(("S1", "S2")), options)


def test_point_mc_adds_the_sampled_mass() -> None:
    """S2 was cut off: its lower bound is 0, its estimate .18 within 4 errors."""
    tree = explorer(0.2, 4000).explore([[0]]).tree
    options = MarginalAnyOptions(point="mc")
    result = marginal_any(
        EvidenceBundle({VerdictTree: tree}),
        Context(task="prompt_harm", options=options),
    )
    lower, drawn = result.category_lower, result.categories
    assert lower is not None
    assert drawn is not None
    assert result.score is not None

    assert_allclose([[0.42, 0.0]], lower, atol=1e-12)
    assert_allclose([[0.42, 0.18]], drawn, atol=4 * 0.18 / np.sqrt(4000))
    assert_allclose([0.6], result.score, atol=1e-12)


@pytest.mark.parametrize("samples", [0, 20])
def test_placeholders_join_trees_with_samples(samples: int) -> None:
    """A bare tree has the columns of the trees that it is stored with."""
    exploring = explorer(0.2, samples)
    tree = exploring.explore([[0]]).tree
    joined = VerdictTree.concat([tree, placeholder_trees(2, exploring)])

    assert [samples, 0, 0] == (
        np.diff(joined.offsets["R"]).tolist() if samples else [0, 0, 0]
    )
    assert tree.arrays.keys() == joined.arrays.keys()
