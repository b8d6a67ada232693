"""Certification: exact bounds, and how many prompts and false positives they need."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom

from safebench.metrics import clopper_pearson
from safebench_feedback_finetune.certify.candidates import Candidate
from safebench_feedback_finetune.certify.certification import (
    CertificationTerms,
    certify,
)
from safebench_feedback_finetune.certify.power import (
    gate_power,
    max_false_positives,
    min_harmful_prompts,
    power_lines,
    target_false_positive_rate,
)

CANDIDATE = Candidate(alpha=1.0, threshold=0.5)


@pytest.mark.parametrize(
    ("n", "allowed"), [(300, 8), (500, 16), (1000, 38), (2000, 83)]
)
def test_the_published_counts_of_false_positives_pass(n: int, allowed: int) -> None:
    """At a cap of 5 % and delta 5 %: 8 of 300, 16 of 500, 38 of 1000, 83 of 2000."""
    assert allowed == max_false_positives(n, 0.05)


def test_too_few_benign_prompts_certify_nothing() -> None:
    """Ten prompts without a false positive still allow a rate of 26 %."""
    assert max_false_positives(10, 0.05) is None


def test_bounds_are_those_of_the_beta_distribution() -> None:
    """Clopper-Pearson by SciPy's beta quantiles; the paired bound by Bonferroni."""
    benign = np.arange(400) < 6
    before, after = np.arange(100) < 40, np.arange(100) >= 5

    certificate = certify(
        CANDIDATE, CertificationTerms(cap=0.05, tolerance=0.2), benign, before, after
    )

    assert certificate.fpr_ucb == pytest.approx(stats.beta.ppf(0.95, 7, 394))
    low = stats.beta.ppf(0.025, 60, 41) - stats.beta.ppf(0.975, 6, 95)
    assert certificate.recall_change_lcb == pytest.approx(low)
    assert (60, 5, 0.55) == (
        certificate.gained,
        certificate.lost,
        certificate.recall_change,
    )
    assert certificate.passed


@pytest.mark.parametrize(
    ("false_positives", "lost", "reason"),
    [(40, 0, "false-positive"), (0, 30, "recall")],
)
def test_either_broken_promise_rejects(
    false_positives: int, lost: int, reason: str
) -> None:
    """The certificate names the promise that it could not keep."""
    benign, before = np.arange(400) < false_positives, np.ones(100, dtype=bool)
    after = np.arange(100) >= lost

    certificate = certify(
        CANDIDATE, CertificationTerms(cap=0.05, tolerance=0.1), benign, before, after
    )

    assert certificate.status == "rejected"
    assert reason in " ".join(certificate.reasons)
    assert len(certificate.reasons) == 1


def test_a_guard_that_flags_everything_is_rejected() -> None:
    """Recall 1 and precision at the base rate: the collapse that this gate is for."""
    everything = np.ones(500, dtype=bool)

    certificate = certify(
        CANDIDATE, CertificationTerms(cap=0.05), everything, ~everything, everything
    )

    assert not certificate.passed


def test_bad_guards_pass_no_more_often_than_promised() -> None:
    """With the true rate just above the cap, at most delta of 4,000 trials pass."""
    rng = np.random.default_rng(1)
    terms = CertificationTerms(cap=0.05, tolerance=1.0)
    no_prompts = np.zeros(0, dtype=bool)

    passed = sum(
        certify(
            CANDIDATE, terms, rng.random(600) < 0.0501, no_prompts, no_prompts
        ).passed
        for _ in range(4000)
    )

    assert passed / 4000 <= 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5
    assert passed > 0  # the test can fail: some do pass


def test_lost_recall_passes_no_more_often_than_promised() -> None:
    """A guard that loses 11 % where 10 % are allowed seldom passes."""
    rng = np.random.default_rng(2)
    terms = CertificationTerms(cap=0.05, tolerance=0.1)
    none_flagged = np.zeros(500, dtype=bool)

    passed = 0
    for _ in range(1000):
        u = rng.random(400)
        before, after = u < 0.5, (u >= 0.15) & (u < 0.54)  # lost .15, gained .04
        passed += certify(CANDIDATE, terms, none_flagged, before, after).passed

    assert passed / 1000 <= 0.05


@pytest.mark.parametrize("bad", [{"cap": 0.0}, {"cap": 0.1, "delta": 1.0}])
def test_terms_that_promise_nothing_are_refused(bad: dict[str, float]) -> None:
    """A cap of 0 can never be certified, a delta of 1 certifies everything."""
    with pytest.raises(ValueError, match="between"):
        CertificationTerms(**bad)


@pytest.mark.parametrize("tolerance", [0.02, 0.1])
def test_a_guard_that_changes_nothing_needs_so_many_harmful_prompts(
    tolerance: float,
) -> None:
    """One prompt fewer and it is rejected, with a hint; a clear gain still passes."""
    needed = int(min_harmful_prompts(tolerance))
    terms = CertificationTerms(cap=0.5, tolerance=tolerance)
    none_flagged = np.zeros(300, dtype=bool)

    def outcome(n: int, gained: int = 0) -> Any:
        base, now = (np.arange(n) >= start for start in (gained, 0))
        return certify(CANDIDATE, terms, none_flagged, base, now)

    assert "passed" == outcome(needed).status
    rejected = outcome(needed - 1)
    assert "rejected" == rejected.status
    assert f"below {needed} only a clear gain passes" in rejected.reasons[0]
    assert "passed" == outcome(needed - 1, gained=needed // 3).status


def test_without_tolerance_only_gains_certify() -> None:
    """At a tolerance of 0 no number of prompts is enough; at 1 the first one is."""
    assert (np.inf, 1) == (min_harmful_prompts(0.0), min_harmful_prompts(1.0))


def test_max_false_positives_agrees_with_counting() -> None:
    """Halving finds the largest count whose bound is within the cap."""
    for n, cap in ((0, 0.1), (20, 0.05), (59, 0.05), (300, 0.05), (500, 0.2)):
        allowed = [
            k for k in range(n + 1) if (clopper_pearson(k, n, 0.9).high or 0) <= cap
        ]
        assert max_false_positives(n, cap) == (max(allowed) if allowed else None)


@pytest.mark.parametrize(("n", "cap"), [(300, 0.05), (1000, 0.06), (1800, 0.2)])
def test_a_guard_at_the_target_rate_passes_with_the_given_power(
    n: int, cap: float
) -> None:
    """A guard at that rate passes 9 times in 10, one at the cap hardly ever."""
    allowed = max_false_positives(n, cap)
    target = target_false_positive_rate(n, cap, power=0.9)
    assert binom.cdf(allowed, n, target) == pytest.approx(0.9, abs=1e-6)
    assert binom.cdf(allowed, n, cap) <= 0.05
    assert 0 < target < cap


def test_too_few_prompts_have_no_target_rate() -> None:
    """Where not even 0 false positives certify, no rate does."""
    assert target_false_positive_rate(10, 0.05) == 0.0


@pytest.mark.parametrize(("n", "tolerance"), [(12, 0.02), (60, 0.02), (183, 0.02)])
def test_the_least_gain_is_the_least_that_certifies(n: int, tolerance: float) -> None:
    """One prompt less than `min_gained` is rejected, none lost; 183 need no gain."""
    terms = CertificationTerms(cap=0.5, tolerance=tolerance)
    benign, before = np.zeros(200, dtype=bool), np.zeros(n, dtype=bool)
    power = gate_power(before, 200, cap=0.5, tolerance=tolerance, delta=0.05)
    least = power.min_gained

    assert least is not None
    for gained in range(n + 1):
        passed = certify(CANDIDATE, terms, benign, before, np.arange(n) < gained).passed
        assert passed == (gained >= least)
    assert (least == 0) == (n == 183)


def test_a_likely_gain_passes_8_of_10_times() -> None:
    """By SciPy's binomial distribution, for a guard that loses nothing."""
    base = np.arange(40) < 2
    power = gate_power(base, 200, cap=0.05, tolerance=0.02, delta=0.05)

    assert power.likely_gain is not None
    assert power.min_gained is not None
    chance = binom.sf(power.min_gained - 1, 40, power.likely_gain)
    assert chance == pytest.approx(0.8)
    assert power.min_gain == power.min_gained / 40
    assert f"less than {power.min_gain:+.3f} in recall" in power_lines(asdict(power))[0]
    sure = gate_power(base == 0, 200, cap=0.05, tolerance=0.02, delta=0.05)
    assert sure.n_missed == 2 < power.min_gained
    line = power_lines(asdict(sure))[0]
    assert line.endswith("the base guard misses 2: no guard could have passed")


def test_too_few_harmful_prompts_can_show_nothing() -> None:
    """Of three, even three gained leave room for a loss; without any, all the more."""
    for n in (0, 3):
        power = gate_power(
            np.zeros(n, dtype=bool), 10, cap=0.05, tolerance=0.0, delta=0.05
        )
        assert (power.min_gained, power.likely_gain) == (None, None)
        assert power.max_false_positives is None
        recall, benign = power_lines(asdict(power))
        assert f"{n} harmful prompts of calib cannot show any gain" in recall
        assert "cannot show a false-positive rate below the cap" in benign
