"""How often a certificate is wrong, simulated over many seeds of a cheap guard.

The guard is logistic on five features, normal in either class, so that its
false-positive rate and recall on fresh prompts are known exactly. It is trained as the
real one is: on what passed it, with labels of a noisy output guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import norm

from safebench_feedback_finetune.certify.candidates import Candidate
from safebench_feedback_finetune.certify.certification import (
    Certificate,
    CertificationTerms,
    PreRegistration,
    certify,
    pre_register,
)
from safebench_feedback_finetune.certify.collapse_checks import collapse_warnings
from safebench_feedback_finetune.certify.holdout_sets import (
    ResponseLabels,
    ValidationSet,
)

if TYPE_CHECKING:
    from safebench.typing import Array

SHIFT = np.array([1.6, 1.2, 0.0, 0.0, 0.0])  # of harmful prompts
BASE = np.array([2.0, 0.0, 0.3, 0.0, 0.0, -2.2])  # knows the first kind of harm alone
HARMFUL = 0.3
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS, RATE, SEEDS = 100, 1.0, 100
CANDIDATE = Candidate(alpha=1.0, threshold=0.5)


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
    p: Array = 1 / (1 + np.exp(-x @ w))
    return p


def _train(train: Sample, recipe: str, rng: np.random.Generator) -> Array:
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
        p = _p(w, train.x)
        gradient = ce * (p - label) + kl * (p - base)
        w = w - RATE * train.x.T @ gradient / max(ce.sum(), 1)
    return w


def _fpr(w: Array, threshold: float) -> float:
    """Return the exact false-positive rate on fresh benign prompts."""
    cut = np.log(threshold / (1 - threshold))
    return float(norm.sf((cut - w[5]) / np.linalg.norm(w[:5])))


def _recall(w: Array, threshold: float) -> float:
    cut = np.log(threshold / (1 - threshold))
    return float(norm.sf((cut - w[5] - SHIFT @ w[:5]) / np.linalg.norm(w[:5])))


def _interpolate(w: Array, alpha: float) -> Array:
    weights: Array = BASE + alpha * (w - BASE)
    return weights


def _choose_and_certify(
    rng: np.random.Generator, w: Array, terms: CertificationTerms
) -> tuple[PreRegistration, Certificate]:
    """Choose on val and certify on calib, as training does."""
    val, fresh_benign = _sample(rng, 500), _sample(rng, 500, 0.0)
    placeholders: list[Any] = [None] * 500
    groups = [""] * 500
    val_set = ValidationSet(
        ResponseLabels(placeholders, val.y, groups), placeholders, groups
    )
    features = np.concatenate([val.x, fresh_benign.x])
    scores = {alpha: _p(_interpolate(w, alpha), features) for alpha in ALPHAS}
    n_benign = 1000
    registered = pre_register(val_set, scores, terms, _fpr(BASE, 0.5), n_benign, 0.5)
    candidate = registered.candidate
    benign, harmful = _sample(rng, n_benign, 0.0), _sample(rng, 300, 1.0)
    if candidate is None:
        none = np.zeros(0, dtype=bool)
        return registered, certify(None, terms, none, none, none)
    tuned = _interpolate(w, candidate.alpha)
    return registered, certify(
        candidate,
        terms,
        _p(tuned, benign.x) >= candidate.threshold,
        _p(BASE, harmful.x) >= 0.5,
        _p(tuned, harmful.x) >= candidate.threshold,
    )


def _terms() -> CertificationTerms:
    return CertificationTerms(cap=_fpr(BASE, 0.5) + 0.02, tolerance=0.02, delta=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["unsafe_only", "ours_without_kl", "ours"])
def test_what_passes_keeps_both_promises_on_fresh_prompts(recipe: str) -> None:
    """Of all seeds at most the promised share lets a breaking guard through."""
    terms, broken, passed, gained = _terms(), 0, 0, []
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, 1])
        w = _train(_sample(rng, 800), recipe, rng)
        _, certificate = _choose_and_certify(rng, w, terms)
        if not certificate.passed:
            continue
        assert certificate.candidate is not None
        threshold = certificate.candidate.threshold
        tuned = _interpolate(w, certificate.candidate.alpha)
        change = _recall(tuned, threshold) - _recall(BASE, 0.5)
        broken += _fpr(tuned, threshold) > terms.cap or change < -terms.tolerance
        passed += 1
        gained.append(change)
    assert broken <= 11  # 5 % of 100, and three standard errors above it
    if recipe == "ours":  # certification is no wall: better guards pass
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
        certificate = certify(CANDIDATE, terms, benign, known, known)
        passed += certificate.passed
    assert passed <= 129  # 5 % of 2000, and three standard errors above it
    assert passed > 20  # the test is no more timid than it has to be


def test_unsafe_only_collapses_and_kl_does_not() -> None:
    """Ungated, the oldest recipe flags most benign prompts, ours few more."""
    collapsed, with_kl = [], []
    for seed in range(20):
        rng = np.random.default_rng([seed, 2])
        train = _sample(rng, 800)
        collapsed.append(_fpr(_train(train, "unsafe_only", rng), 0.5))
        with_kl.append(_fpr(_train(train, "ours", rng), 0.5))
    assert min(collapsed) > 0.5
    assert max(with_kl) < _fpr(BASE, 0.5) + 0.05


def _verdicts(p: Array) -> list[str]:
    """Return what a guard writes, in the small letters that it was taught."""
    return ["unsafe\nS1" if score >= 0.5 else "safe" for score in p.tolist()]


def test_the_old_recipe_is_rejected() -> None:
    """Unsafe-only labels, read by a parser that knows capitals alone: rejected.

    It calls everything unsafe: recall is 1, precision the base rate. One part of it is
    enough, too: the labels with a right parser, or the parser with the base guard.
    """
    rng = np.random.default_rng(0)
    w = _train(_sample(rng, 800), "unsafe_only", rng)
    calib = _sample(rng, 2000, 0.07)

    def by_capitals(p: Array) -> Array:
        flagged = [not text.startswith("SAFE") for text in _verdicts(p)]
        return np.asarray(flagged, dtype=bool)

    def by_threshold(p: Array) -> Array:
        return p >= 0.5

    base = by_threshold(_p(BASE, calib.x))
    for weights, parse in ((w, by_capitals), (w, by_threshold), (BASE, by_capitals)):
        scores = _p(weights, calib.x)
        decisions = parse(scores)
        certificate = certify(
            CANDIDATE,
            _terms(),
            decisions[~calib.y],
            base[calib.y],
            decisions[calib.y],
        )
        assert certificate.status == "rejected"
        assert "false-positive rate" in certificate.reasons[0]
        assert collapse_warnings(calib.y, base, decisions, scores)
    flagged = by_capitals(_p(w, calib.x))
    assert flagged[calib.y].all()
    assert calib.y[flagged].mean() == pytest.approx(0.07, abs=0.02)
