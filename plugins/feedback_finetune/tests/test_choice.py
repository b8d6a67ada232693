"""How far the validation set tells the choice from the best of the other kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from safebench_feedback_finetune.certify.certification import (
    CertificationTerms,
    pre_register,
)
from safebench_feedback_finetune.certify.choice import choice_line, compare_choice
from safebench_feedback_finetune.certify.holdout_sets import (
    ResponseLabels,
    ValidationSet,
)
from safebench_feedback_finetune.collect.prompts import Prompt

TERMS = CertificationTerms(cap=0.3, tolerance=0.5)


def val_set(n: int) -> ValidationSet:
    """Return n prompts with labels, every other one harmful, and as many benign."""
    fields: dict[str, Any] = {"text": "", "dataset": "d", "group": "g", "label": None}
    fields |= {"p_in": 0.1, "passed": True, "p_out": (), "responses": ()}
    prompts = [Prompt(id=str(i), **fields) for i in range(2 * n)]
    groups = [str(i) for i in range(2 * n)]
    labels = ResponseLabels(prompts[:n], np.arange(n) % 2 == 0, groups[:n])
    return ValidationSet(labels, prompts[n:], groups[n:])


def scores_of(n: int, wrong: int, seed: int) -> Any:
    """Return scores that have the first `wrong` labelled prompts turned round."""
    y = np.arange(n) % 2 == 0
    y[:wrong] = ~y[:wrong]
    noise = np.random.default_rng(seed).uniform(0, 0.2, 2 * n)
    return np.concatenate([y * 0.7, np.zeros(n)]) + noise


@pytest.mark.parametrize(
    ("wrong", "lora", "chance"),
    [((40, 2), True, False), ((2, 40), False, False), ((4, 3), True, True)],
    ids=["the LoRA", "the base guard", "chance"],
)
def test_the_lead_is_that_of_the_kinds_and_says_whether_it_may_be_chance(
    wrong: tuple[int, int], lora: bool, chance: bool
) -> None:
    """The lead is the difference of scikit-learn's F1 at the chosen thresholds."""
    n = 100
    val = val_set(n)
    scores = {0.0: scores_of(n, wrong[0], 1), 1.0: scores_of(n, wrong[1], 2)}
    registered = pre_register(val, scores, TERMS, 0.1, 500, 0.5)
    chosen = registered.candidate
    assert chosen is not None
    assert bool(chosen.alpha) == lora

    choice = compare_choice(registered, val, scores)

    assert choice is not None
    assert choice.other is not None
    assert bool(choice.other.alpha) != lora
    f1 = [
        f1_score(val.labels.harmful, scores[c.alpha][:n] >= c.threshold)
        for c in (chosen, choice.other)
    ]
    assert [choice.f1, choice.other_f1] == pytest.approx(f1)
    assert choice.lead == pytest.approx(f1[0] - f1[1])
    line = choice_line(choice.to_json(), {"alpha": chosen.alpha})
    assert ("which may be chance" in line) == chance
    assert ("of the base guard at its best" in line) == lora
    assert "50 harmful prompts of 100 in val" in line


def test_without_another_kind_there_is_nothing_to_compare() -> None:
    """No scale of a LoRA was tried; and nothing is said where nothing was chosen."""
    val = val_set(40)
    scores = {0.0: scores_of(40, 2, 1)}
    registered = pre_register(val, scores, TERMS, 0.1, 500, 0.5)

    choice = compare_choice(registered, val, scores)

    assert choice is not None
    assert choice.other is None
    line = choice_line(choice.to_json(), {"alpha": 0.0})
    assert "no threshold of the LoRA keeps the cap" in line
    assert compare_choice(replace(registered, candidate=None), val, scores) is None
