"""What is prevented, what is lost, and which way a difference points."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from safebench.metrics import mcnemar
from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.evaluate.measurement import (
    EvaluatedGuard,
    GuardDecisions,
    GuardTestSet,
    compare_guards,
    measure_prevention,
    measure_set,
)


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
    prevention = measure_prevention(prompts, names, base, now, threshold=0.5, draws=100)
    assert (prevention.outputs, prevention.prevented, prevention.share.value) == (
        3,
        2,
        2 / 3,
    )
    assert (prevention.harmless, prevention.lost, prevention.let_through) == (2, 1, 1)
    assert prevention.lost_per_prevented == 0.5
    nothing = measure_prevention(prompts, names, base, base, threshold=0.5, draws=100)
    assert (nothing.prevented, nothing.lost, nothing.lost_per_prevented) == (0, 0, None)


GUARD = EvaluatedGuard("guard", 1.0, 1.0)


def _test_set() -> tuple[GuardTestSet, GuardDecisions, GuardDecisions]:
    """Return a set with the decisions of a worse and of a better guard."""
    rng = np.random.default_rng(0)
    y = rng.random(300) < 0.4
    worse, better = (rng.normal(size=300) + gap * y for gap in (0.5, 2.0))
    groups = [str(i) for i in range(300)]
    prompts = [_prompt(name) for name in groups]
    test_set = GuardTestSet("s", "prompt_harm", prompts, y, groups)
    return (
        test_set,
        GuardDecisions(GUARD, worse, worse >= 1),
        GuardDecisions(GUARD, better, better >= 1),
    )


def test_metrics_are_those_of_scikit_learn() -> None:
    """F1 reads decisions, AUPRC scores."""
    test_set, _, better = _test_set()
    metrics = measure_set(test_set, better, 200)
    expected = f1_score(test_set.y, better.decisions)
    assert metrics["f1"].value == pytest.approx(expected)
    expected = average_precision_score(test_set.y, better.scores)
    assert metrics["auprc"].value == pytest.approx(expected)
    assert metrics["fpr"].low is not None


def test_a_difference_is_the_second_minus_the_first() -> None:
    """A better second guard has a positive difference, and more prompts right alone."""
    test_set, worse, better = _test_set()
    y = test_set.y
    difference = compare_guards(test_set, worse, better, 500)
    f1 = difference.metrics["f1"]
    expected = f1_score(y, better.decisions) - f1_score(y, worse.decisions)
    assert f1.value == pytest.approx(expected)
    assert f1.low is not None
    assert f1.low > 0
    test = mcnemar(y, worse.decisions, better.decisions)
    actual = difference.only_second, difference.only_first, difference.p
    assert actual == tuple(test)
    assert difference.only_second > difference.only_first
