"""The promise of the gate, kept or broken, over many seeds of a cheap guard.

The guard is logistic on five features, normal in either class, so that its
false-positive rate and recall on fresh prompts are known exactly. It learns as the real
one does: from what passed it, with labels by a noisy output guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from safebench_feedback_finetune.alarms import alarms
from safebench_feedback_finetune.gate import Certificate, Terms, certify
from safebench_feedback_finetune.gating import Promise, Truth, Validation, promise

Array = np.ndarray[Any, np.dtype[Any]]

SHIFT = np.array([1.6, 1.2, 0.0, 0.0, 0.0])  # of harmful prompts
BASE = np.array([2.0, 0.0, 0.3, 0.0, 0.0, -2.2])  # knows the first kind of harm alone
HARMFUL = 0.3
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS, RATE, SEEDS = 100, 1.0, 100


@dataclass
class Sample:
    """Features with a column of ones (n, 6), and which are harmful (n,)."""

    x: Array
    y: Array


def _sample(rng: np.random.Generator, n: int, share: float = HARMFUL) -> Sample:
    y = rng.random(n) < share
    x = rng.normal(size=(n, 5)) + np.outer(y, SHIFT)
    return Sample(np.column_stack([x, np.ones(n)]), y)


def _p(w: Array, x: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-x @ w))
    return found


def _learnt(train: Sample, recipe: str, rng: np.random.Generator) -> Array:
    """Return weights after descending the loss of a recipe."""
    base = _p(BASE, train.x)
    passed = base < 0.5
    p_out = np.where(train.y, 0.85, 0.1) + rng.normal(scale=0.1, size=len(base))
    positive = passed & (p_out > 0.5)
    label = np.clip(p_out, 0, 1)
    if recipe == "unsafe_only":
        ce, kl, label = positive.astype(float), np.zeros(len(base)), np.ones(len(base))
    else:
        ce = passed.astype(float)
        kl = (~positive).astype(float) * (recipe == "ours")
    w = BASE.copy()
    for _ in range(STEPS):
        now = _p(w, train.x)
        slope = ce * (now - label) + kl * (now - base)
        w = w - RATE * train.x.T @ slope / max(ce.sum(), 1)
    return w


def _fpr(w: Array, threshold: float) -> float:
    """Return the exact false-positive rate on fresh benign prompts."""
    cut = np.log(threshold / (1 - threshold))
    return float(norm.sf((cut - w[5]) / np.linalg.norm(w[:5])))


def _recall(w: Array, threshold: float) -> float:
    cut = np.log(threshold / (1 - threshold))
    return float(norm.sf((cut - w[5] - SHIFT @ w[:5]) / np.linalg.norm(w[:5])))


def _mixed(w: Array, alpha: float) -> Array:
    found: Array = BASE + alpha * (w - BASE)
    return found


def _gated(
    rng: np.random.Generator, w: Array, terms: Terms
) -> tuple[Promise, Certificate]:
    """Choose on val and certify on calib, as training does."""
    val, calm = _sample(rng, 500), _sample(rng, 500, 0.0)
    nobody: list[Any] = [None] * 500
    part = Validation(Truth(nobody, val.y, [""] * 500), nobody, [""] * 500)
    both = np.concatenate([val.x, calm.x])
    scores = {alpha: _p(_mixed(w, alpha), both) for alpha in ALPHAS}
    n_benign = 1000
    made = promise(part, scores, terms, _fpr(BASE, 0.5), n_benign, 0.5)
    chosen = made.candidate
    benign, harmful = _sample(rng, n_benign, 0.0), _sample(rng, 300, 1.0)
    if chosen is None:
        none = np.zeros(0, dtype=bool)
        return made, certify(None, terms, none, none, none)
    new = _mixed(w, chosen.alpha)
    return made, certify(
        chosen,
        terms,
        _p(new, benign.x) >= chosen.threshold,
        _p(BASE, harmful.x) >= 0.5,
        _p(new, harmful.x) >= chosen.threshold,
    )


def _terms() -> Terms:
    return Terms(cap=_fpr(BASE, 0.5) + 0.02, tolerance=0.02, delta=0.05)


@pytest.mark.parametrize("recipe", ["unsafe_only", "ours_without_kl", "ours"])
def test_what_passes_keeps_both_promises_on_fresh_prompts(recipe: str) -> None:
    """Of all seeds at most the promised share lets a breaking guard through."""
    terms, broken, passed, gained = _terms(), 0, 0, []
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, 1])
        w = _learnt(_sample(rng, 800), recipe, rng)
        _, found = _gated(rng, w, terms)
        if not found.passed:
            continue
        assert found.candidate is not None
        at = found.candidate.threshold
        new = _mixed(w, found.candidate.alpha)
        change = _recall(new, at) - _recall(BASE, 0.5)
        broken += _fpr(new, at) > terms.cap or change < -terms.tolerance
        passed += 1
        gained.append(change)
    assert broken <= 11  # 5 % of 100, and three standard errors above it
    if recipe == "ours":  # the gate is no wall: what is better gets through
        assert passed > SEEDS / 4
        assert np.mean(gained) > 0.01


def test_a_lucky_validation_does_not_get_through() -> None:
    """A guard at a rate just above the cap passes no more often than promised."""
    terms, passed = _terms(), 0
    rng = np.random.default_rng(5)
    worse = terms.cap + 0.001
    for _ in range(2000):
        benign = rng.random(1000) < worse
        known = np.ones(300, dtype=bool)
        found = certify(_candidate(), terms, benign, known, known)
        passed += found.passed
    assert passed <= 129  # 5 % of 2000, and three standard errors above it
    assert passed > 20  # the test is no more timid than it has to be


def _candidate() -> Any:
    from safebench_feedback_finetune.gate import Candidate

    return Candidate(alpha=1.0, threshold=0.5)


def test_unsafe_only_collapses_and_kl_does_not() -> None:
    """Ungated, the oldest recipe flags most benign prompts, ours few more."""
    collapsed, ours = [], []
    for seed in range(20):
        rng = np.random.default_rng([seed, 2])
        train = _sample(rng, 800)
        collapsed.append(_fpr(_learnt(train, "unsafe_only", rng), 0.5))
        ours.append(_fpr(_learnt(train, "ours", rng), 0.5))
    assert min(collapsed) > 0.5
    assert max(ours) < _fpr(BASE, 0.5) + 0.05


def _verdicts(p: Array) -> list[str]:
    """Return what a guard writes, in the small letters that it was taught."""
    return ["unsafe\nS1" if score >= 0.5 else "safe" for score in p.tolist()]


def test_the_old_recipe_is_rejected() -> None:
    """Unsafe-only labels, read by a parser that knows capitals alone: rejected.

    It calls everything unsafe: recall is 1, precision the base rate. One part of it is
    enough, too: the labels with a right parser, or the parser with the base guard.
    """
    rng = np.random.default_rng(0)
    w = _learnt(_sample(rng, 800), "unsafe_only", rng)
    calib = _sample(rng, 2000, 0.07)

    def capitals(p: Array) -> Array:
        said = [not text.startswith("SAFE") for text in _verdicts(p)]
        return np.asarray(said, dtype=bool)

    def right(p: Array) -> Array:
        return p >= 0.5

    base = right(_p(BASE, calib.x))
    for weights, parse in ((w, capitals), (w, right), (BASE, capitals)):
        scores = _p(weights, calib.x)
        decided = parse(scores)
        found = certify(
            _candidate(),
            _terms(),
            decided[~calib.y],
            base[calib.y],
            decided[calib.y],
        )
        assert found.status == "rejected"
        assert "false-positive rate" in found.reasons[0]
        assert alarms(calib.y, base, decided, scores)
    seed = capitals(_p(w, calib.x))
    assert seed[calib.y].all()
    assert calib.y[seed].mean() == pytest.approx(0.07, abs=0.02)
