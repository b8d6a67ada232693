"""What is prevented, what is lost, and which way a difference points."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from safebench.statistics import mcnemar
from safebench_feedback_finetune.measures import (
    MeasuredSet,
    compare,
    measure,
    prevention,
)
from safebench_feedback_finetune.prompts import Prompt


def _prompt(name: str, *p_out: float) -> Prompt:
    return Prompt(id=name, text=name, dataset="d", group=name, p_out=p_out)


def test_prevention_counts_outputs_and_prompts() -> None:
    """Outputs count one by one, harmless prompts once; what was stopped is apart."""
    prompts = [
        _prompt("two bad answers", 0.9, 0.8, 0.1),
        _prompt("a bad answer", 0.7),
        _prompt("a good answer", 0.2),
        _prompt("two good answers", 0.1, 0.3),
        _prompt("stopped, bad", 0.9),
        _prompt("stopped, good", 0.1),
        _prompt("no answer"),
    ]
    base = np.array([False, False, False, False, True, True, False])
    now = np.array([True, False, True, False, False, True, True])
    names = [p.id for p in prompts]
    found = prevention(prompts, names, base, now, threshold=0.5, draws=100)
    assert (found.outputs, found.prevented, found.share.value) == (3, 2, 2 / 3)
    assert (found.harmless, found.lost, found.let_through) == (2, 1, 1)
    assert found.price == 0.5
    nothing = prevention(prompts, names, base, base, threshold=0.5, draws=100)
    assert (nothing.prevented, nothing.lost, nothing.price) == (0, 0, None)


def _set() -> tuple[MeasuredSet, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.random(300) < 0.4
    worse, better = (rng.normal(size=300) + gap * y for gap in (0.5, 2.0))
    groups = [str(i) for i in range(300)]
    prompts = [_prompt(name) for name in groups]
    return MeasuredSet("s", "prompt_harm", prompts, y, groups), worse, better


def test_metrics_are_those_of_scikit_learn() -> None:
    """F1 reads decisions, AUPRC scores."""
    found, _, scores = _set()
    got = measure(found, scores, scores >= 1, 200)
    assert got["f1"].value == pytest.approx(f1_score(found.y, scores >= 1))
    expected = average_precision_score(found.y, scores)
    assert got["auprc"].value == pytest.approx(expected)
    assert got["fpr"].low is not None


def test_a_difference_is_the_second_minus_the_first() -> None:
    """A better second guard has a positive difference, and more prompts right alone."""
    found, worse, better = _set()
    got = compare(found, (worse, worse >= 1), (better, better >= 1), 500)
    f1 = got.metrics["f1"]
    expected = f1_score(found.y, better >= 1) - f1_score(found.y, worse >= 1)
    assert f1.value == pytest.approx(expected)
    assert f1.low is not None
    assert f1.low > 0
    test = mcnemar(found.y, worse >= 1, better >= 1)
    assert (got.only_second, got.only_first, got.p) == tuple(test)
    assert got.only_second > got.only_first
