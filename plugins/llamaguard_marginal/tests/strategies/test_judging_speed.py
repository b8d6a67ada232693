"""Judging stored evidence with every strategy is quick."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from safebench.evidence import VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.strategies.base import Context
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench_llamaguard_marginal.strategies.catalog import SPECS

CODES = tuple(f"S{i}" for i in range(1, 15))
PIECES = ["\n\n", "safe", "unsafe", "\n", "S", ",S", *map(str, range(1, 15)), "x"]
EOS = len(PIECES)
FOLLOW = {-1: [0, 1, 2], 0: [1, 2], 1: [EOS], 2: [3], 3: [4], 4: [*range(6, 20)]}
FOLLOW |= {5: FOLLOW[4], **{label: [EOS, 5] for label in range(6, 20)}}


class Diffuse(dict[Any, Any]):
    """A table that answers everything: mostly on the grammar, widely spread."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def get(self, tokens: Any, _: Any = None) -> Any:
        """Return next-token probabilities after `said`."""
        rng = np.random.default_rng([self.seed, *tokens])
        p = rng.dirichlet(np.full(EOS + 1, 0.1)) * 0.02
        likely = FOLLOW[tokens[-1] if tokens else -1]
        p[likely] += rng.dirichlet(np.full(len(likely), 0.3)) * 0.98
        return p


@pytest.mark.slow
def test_ten_thousand_trees_and_all_strategies_take_less_than_20_s() -> None:
    """Some 65 to 150 nodes a tree, on one core, sharing what is worked out once."""
    tables = [Diffuse(seed) for seed in range(40)]
    model = TableModel([*(p.encode() for p in PIECES), b""], EOS, tables)
    prompts = [[i] for i in range(40)]
    few = explore(model, prompts, llama_guard(CODES), ExploreOptions()).tree
    many = few.select(np.arange(10_000) % 40)
    judges = [spec.code() for spec in SPECS]
    since = time.process_time()
    for judge in judges:
        judge(EvidenceBundle({VerdictTree: many}), Context(task="prompt_harm"))

    assert time.process_time() - since < 20
    assert 65 <= len(few["parent"]) / 40 <= 160
