"""Uncertainties of the greedy verdict's tokens, against loops over its table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import entropy

from safebench.errors import OptionError
from safebench.evidence import GreedyPath, VerdictTree
from safebench.evidence.base import EvidenceBundle
from safebench.strategies.base import Context, Judgements
from safebench.testing.grammars import llama_guard
from safebench.testing.table_model import TableModel, TableSession
from safebench.verdict_tree.explorer import ExploreOptions, explore
from safebench_llamaguard_marginal.strategies.catalog import SPECS

PIECES = ["safe", "unsafe", "\n", "S", "1", "2", ",", "x"]
EOS, WIDTH, BUDGET = len(PIECES), len(PIECES) + 1, 8
FOLLOW = {-1: [0, 1], 0: [EOS], 1: [2], 2: [3], 3: [4, 5], 6: [3]}
FOLLOW |= {4: [6, EOS], 5: [6, EOS]}
LOADED = {spec.name: spec.code() for spec in SPECS}


class Shifted(TableModel):
    """A table model whose logits are higher by 3 with every token said."""

    def open(self, prompts: Any) -> TableSession:
        """Start sessions that shift their logits."""
        session = super().open(prompts)
        plain = session._logits

        def shifted(nodes: Any) -> Any:
            steps = np.array([len(tokens) for _, tokens in nodes])
            return plain(nodes) + 3.0 * steps[:, None]

        session._logits = shifted  # type: ignore[method-assign]
        return session


def table(seed: int) -> dict[tuple[int, ...], list[float]]:
    """Draw next-token probabilities along whatever path is likeliest, and beside it."""
    rng, tokens, out = np.random.default_rng(seed), (), {}
    while len(tokens) < BUDGET and EOS not in tokens:
        likely = FOLLOW[tokens[-1] if tokens else -1]
        p = rng.dirichlet(np.full(WIDTH, 0.5))
        p[rng.choice(likely)] += 1.5
        out[tokens] = (p / p.sum()).tolist()
        tokens = (*tokens, int(p.argmax()))
    return out


def walk(rows: dict[tuple[int, ...], list[float]]) -> list[np.ndarray[Any, Any]]:
    """Return the distribution at every step of the greedy verdict."""
    tokens: tuple[int, ...] = ()
    steps = []
    while tokens in rows:
        steps.append(np.array(rows[tokens]))
        tokens = (*tokens, int(steps[-1].argmax()))
    return steps


def judge(name: str, evidence: EvidenceBundle) -> Judgements:
    """Judge for prompt harm."""
    result: Judgements = LOADED[name](evidence, Context(task="prompt_harm"))
    return result


EXPECTED = {
    "msp": lambda steps: -sum(np.log(p.max()) for p in steps),
    "perplexity": lambda steps: -np.mean([np.log(p.max()) for p in steps]),
    "mean_token_entropy": lambda steps: np.mean([entropy(p) for p in steps]),
    "max_token_entropy": lambda steps: max(entropy(p) for p in steps),
    "margin": lambda steps: 1 - min(np.diff(np.sort(p)[-2:])[0] for p in steps),
    "energy": lambda steps: -3 * np.mean(range(len(steps))),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_against_a_loop_over_tokens(name: str) -> None:
    """Verdicts of different lengths, in one batch, in nats, EOS included."""
    rows = [table(seed) for seed in range(20)]
    model = Shifted([*(p.encode() for p in PIECES), b""], EOS, rows)
    options = ExploreOptions(eps=0.05, max_tokens=BUDGET)
    prompts = [[i] for i in range(len(rows))]
    tree = explore(model, prompts, llama_guard(("S1", "S2")), options).tree
    steps = [walk(row) for row in rows]
    result = judge(name, EvidenceBundle({VerdictTree: tree}))

    assert 1 < len({len(walked) for walked in steps})
    assert result.score is None
    assert [None] * 20 == result.errors
    expected = [EXPECTED[name](walked) for walked in steps]
    assert_allclose(expected, result.uncertainty, rtol=1e-6)


def service(**changes: Any) -> GreedyPath:
    """Return what a service with top-2 log-probabilities and no logits gives."""
    arrays = {
        "token": [5, 6, 7],
        "logp": np.log([0.5, 0.8, 0.9]),
        "top_ids": [[5, 1], [6, 1], [7, 1]],
        "top_logp": np.log([[0.5, 0.3], [0.8, 0.1], [0.9, 0.1]]),
    }
    return GreedyPath(
        arrays | changes, offsets={"T": [0, 2, 3, 3]}, meta={"labels": []}, size=3
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("msp", [-np.log(0.4), -np.log(0.9)]),
        ("perplexity", [-np.log(0.4) / 2, -np.log(0.9)]),
        ("margin", [0.8, 0.2]),
    ],
)
def test_log_probabilities_of_a_service_are_enough(
    name: str, expected: list[float]
) -> None:
    """No tree is needed; a verdict of no tokens has no value and an error."""
    result = judge(name, EvidenceBundle({GreedyPath: service()}))

    assert_allclose([*expected, np.nan], result.uncertainty)
    assert [None, None] == result.errors[:2]
    assert result.errors[2] is not None


def test_a_margin_needs_two_tokens() -> None:
    """One alternative leads nothing."""
    one = {"top_ids": [[5], [6], [7]], "top_logp": np.zeros((3, 1))}
    with pytest.raises(OptionError, match="needs two recorded tokens"):
        judge("margin", EvidenceBundle({GreedyPath: service(**one)}))
