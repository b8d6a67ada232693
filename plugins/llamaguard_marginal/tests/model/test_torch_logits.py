"""Summaries of tensors must equal those of numpy arrays."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch

from safebench.testing.grammars import llama_guard
from safebench.verdict_tree.automaton import compile_grammar
from safebench.verdict_tree.logits import LogitQuery, LogitSummarizer, LogitSummary
from safebench.verdict_tree.vocabulary import Vocabulary
from safebench_llamaguard_marginal.model.torch_logits import TorchLogitSummarizer

PIECES = [b"\n\n", b"safe", b"unsafe", b"\n", b"S", b"1", b"2", b"12", b",S", b"", b"x"]
WIDTH = len(PIECES)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """Return a small vocabulary for labels S1, S2 and S12."""
    table = compile_grammar(llama_guard(("S1", "S2", "S12")))
    return Vocabulary(table, PIECES, frozenset({9}))


def ask(
    vocabulary: Vocabulary, count: int, seed: int = 0, eps: float = 0.05
) -> LogitQuery:
    """Return a query in random states; some rows greedy, some without a floor."""
    rng = np.random.default_rng(seed)
    floor = rng.uniform(eps, 0.5, count)
    floor[rng.random(count) < 0.3] = np.inf
    return LogitQuery(
        state=rng.integers(0, len(vocabulary.automaton.level), count),
        min_probability=floor,
        greedy=rng.random(count) < 0.5,
        forced_node=np.array([0, 3, 3]),
        forced_token=np.array([2, 1, 10]),
        top_k=4,
    )


def logits(count: int, dtype: Any = np.float32, seed: int = 1) -> Any:
    """Return random logits (Q, V)."""
    return (np.random.default_rng(seed).normal(size=(count, WIDTH)) * 4).astype(dtype)


def assert_same(expected: LogitSummary, actual: LogitSummary) -> None:
    """Compare all columns: numbers to rounding, the rest exactly; bad rows loosely."""
    good = ~expected.invalid
    for field in fields(LogitSummary):
        a, b = getattr(expected, field.name), getattr(actual, field.name)
        if field.name in ("log_norm", "entropy", "kind_masses"):
            assert a[good] == pytest.approx(b[good], abs=1e-13)
        elif field.name == "logp":
            assert a == pytest.approx(b, abs=1e-13)
        else:
            assert np.array_equal(a, b), field.name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tensor", [False, True])
def test_equals_the_numpy_summary(
    vocabulary: Vocabulary, dtype: Any, tensor: bool
) -> None:
    """Masses, entropies, lists and top logits agree, from arrays and from tensors."""
    z, query = logits(200, dtype), ask(vocabulary, 200)

    actual = TorchLogitSummarizer()(
        torch.from_numpy(z) if tensor else z, query, vocabulary
    )

    assert len(actual.node) > 100
    assert_same(LogitSummarizer()(z, query, vocabulary), actual)


def test_small_groups_give_the_same(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cutting the rows into many pieces changes nothing but the last digits."""
    z, query = logits(50), ask(vocabulary, 50)
    whole = TorchLogitSummarizer()(z, query, vocabulary)
    monkeypatch.setattr(
        TorchLogitSummarizer, "logits_at_once", lambda *_: 2 * WIDTH, raising=True
    )

    assert_same(whole, TorchLogitSummarizer()(z, query, vocabulary))


def test_masses_sum_to_one(vocabulary: Vocabulary) -> None:
    """Stop, closed and rest add up to 1 within 1e-12, from float32 logits too."""
    summary = TorchLogitSummarizer()(logits(200), ask(vocabulary, 200), vocabulary)

    assert np.ones(200) == pytest.approx(summary.kind_masses.sum(axis=1), abs=1e-12)


def test_invalid_logits_and_no_floor(vocabulary: Vocabulary) -> None:
    """NaN, inf and rows of -inf are bad alone; a floor of 0 lists what is possible."""
    z = logits(8)
    z[1, 4], z[2, 0], z[3], z[5, 5] = np.nan, np.inf, -np.inf, -np.inf
    query = ask(vocabulary, 8)
    query.min_probability[:] = 0.0

    actual = TorchLogitSummarizer()(z, query, vocabulary)

    assert [1, 2, 3] == np.flatnonzero(actual.invalid).tolist()
    assert_same(LogitSummarizer()(z, query, vocabulary), actual)


def test_one_summarizer_serves_two_vocabularies(vocabulary: Vocabulary) -> None:
    """What was kept for one vocabulary is not used for the next."""
    table = compile_grammar(llama_guard(("S1", "S2")))
    other = Vocabulary(table, PIECES, frozenset({9}))
    z, summarizer = logits(40), TorchLogitSummarizer()
    summarizer(z, ask(vocabulary, 40), vocabulary)

    actual = summarizer(z, ask(other, 40), other)

    assert_same(LogitSummarizer()(z, ask(other, 40), other), actual)


def test_the_largest_of_bfloat16_are_float32() -> None:
    """NumPy has no such format: their values are the same, wider."""
    logits = torch.tensor([[1.5, -2.0, 3.25]], dtype=torch.bfloat16)

    argmax, ids, values = TorchLogitSummarizer().largest(logits, np.array([0]), 2)

    assert ([2], [[2, 0]]) == (argmax.tolist(), ids.tolist())
    assert [[3.25, 1.5]] == values.tolist()
