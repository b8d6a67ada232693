"""Thresholds against brute force over every cut point, and scikit-learn's curve."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from safebench.decision.risk_control import control, least_n
from safebench.decision.thresholds import Rule, ScoredSamples, choose, review_from
from safebench.errors import DataError, OptionError

RULES = {
    "max_fpr": Rule(name="max_fpr", value=0.2),
    "min_recall": Rule(name="min_recall", value=0.8),
    "review_budget": Rule(name="review_budget", value=0.25),
    "cost": Rule(name="cost", cost_fp=1.0, cost_fn=3.0),
}


def samples(y: list[bool], score: list[float]) -> ScoredSamples:
    """Return independent samples."""
    groups = [str(row) for row in range(len(y))]
    return ScoredSamples(np.array(y, dtype=bool), np.array(score, float), groups)


def drawn(seed: int, *, ties: bool, failed: bool) -> ScoredSamples:
    """Return 40 samples, some of them with equal scores or without one."""
    rng = np.random.default_rng(seed)
    y = rng.random(40) < 0.45
    score = rng.normal(size=40) + y
    if ties:
        score = np.round(score * 2) / 2
    if failed:
        score[rng.integers(40, size=2)] = np.nan
    return samples(y.tolist(), score.tolist())


def counts(known: ScoredSamples, threshold: float) -> tuple[int, int]:
    """Count flagged positives and negatives, one sample after the other."""
    flagged = Counter(
        bool(truth)
        for truth, score in zip(known.y, known.score, strict=True)
        if (not truth if math.isnan(score) else score >= threshold)
    )
    return flagged[True], flagged[False]


def by_hand(name: str, known: ScoredSamples, prevalence: float | None) -> float | None:
    """Return what the rule's sentence says, over every cut point."""
    cuts = sorted({float(s) for s in known.score if not math.isnan(s)})
    n_pos, n_neg = int(known.y.sum()), int((~known.y).sum())
    table = {cut: counts(known, cut) for cut in [*cuts, math.inf]}
    share = n_pos / (n_pos + n_neg) if prevalence is None else prevalence
    if name == "max_fpr":
        fpr = {cut: table[cut][1] / n_neg for cut in cuts}
        good = [cut for cut in cuts if fpr[cut] <= 0.2 + 1e-12]
        most = max((fpr[cut] for cut in good), default=None)
        best = [cut for cut in good if fpr[cut] == most]
        if not best:
            return None
        return min(best) if most == table[math.inf][1] / n_neg else max(best)
    if name == "min_recall":
        good = [cut for cut in cuts if table[cut][0] / n_pos >= 0.8 - 1e-12]
        return max(good, default=None)
    if name == "review_budget":
        good = [
            cut
            for cut in cuts
            if share * table[cut][0] / n_pos + (1 - share) * table[cut][1] / n_neg
            <= 0.25 + 1e-12
        ]
        return min(good, default=None)
    cost = {
        cut: 3 * share * (1 - p / n_pos) + (1 - share) * n / n_neg
        for cut, (p, n) in table.items()
    }
    return max(cut for cut in cost if cost[cut] <= min(cost.values()) + 1e-12)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("prevalence", [None, 0.1])
@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_every_rule_is_what_its_sentence_says(
    name: str, prevalence: float | None, ties: bool, failed: bool
) -> None:
    """On 25 draws with and without ties and failures, over all cut points."""
    n_chosen = 0
    for seed in range(25):
        known = drawn(seed, ties=ties, failed=failed)
        expected = by_hand(name, known, prevalence)
        if expected is None:
            with pytest.raises(DataError, match="no threshold keeps"):
                choose(RULES[name], known, prevalence)
            continue
        choice = choose(RULES[name], known, prevalence)
        n_chosen += 1
        assert expected == choice.threshold
        assert counts(known, expected) == (choice.flagged_pos, choice.flagged_neg)
    assert n_chosen > 10


def test_rates_are_those_of_scikit_learn() -> None:
    """FPR and recall of each chosen threshold lie on its curve."""
    for seed, budget in itertools.product(range(10), (0.1, 0.25, 0.5)):
        known = drawn(seed, ties=True, failed=False)
        fpr, recall, cuts = roc_curve(known.y, known.score, drop_intermediate=False)
        try:
            choice = choose(Rule(name="max_fpr", value=budget), known)
        except DataError:
            assert (fpr[1:] > budget).all()
            continue
        (at,) = np.flatnonzero(cuts == choice.threshold)
        assert (fpr[at], recall[at]) == (choice.fpr, choice.recall)
        assert fpr[at] == fpr[1:][fpr[1:] <= budget].max()


def test_a_budget_is_a_whole_number_of_samples_despite_rounding() -> None:
    """0.29 * 100 is below 29 in binary, and 29 false positives are within it."""
    y = [False] * 100 + [True] * 5
    known = samples(y, [*range(100), *range(200, 205)])

    choice = choose(Rule(name="max_fpr", value=0.29), known)

    assert (29, 71.0) == (choice.flagged_neg, choice.threshold)


def test_without_a_false_positive_in_the_budget_more_is_recalled_for_nothing() -> None:
    """The lowest score above all negatives, and not the highest of all."""
    y = [False] * 20 + [True] * 3
    known = samples(y, [*[0.5] * 2, *[0.1] * 18, 0.6, 0.7, 0.8])

    choice = choose(Rule(name="max_fpr", value=0.05), known)

    assert (0.6, 3, 0) == (choice.threshold, choice.flagged_pos, choice.flagged_neg)


@pytest.mark.parametrize(
    ("rule", "n_pos", "n_neg", "message"),
    [
        (RULES["max_fpr"], 30, 4, "4 negatives in the calibration part"),
        (Rule(name="max_fpr", value=0.01), 30, 99, "takes 100"),
        (Rule(name="min_recall", value=0.95), 19, 30, "19 positives"),
        (RULES["cost"], 30, 0, "0 negatives"),
        (RULES["cost"], 0, 30, "0 positives"),
        (Rule(name="review_budget", value=0.01), 30, 30, "60 samples"),
    ],
)
def test_too_few_samples_are_refused_with_both_numbers(
    rule: Rule, n_pos: int, n_neg: int, message: str
) -> None:
    """In one line: which class has how many, how many the rule takes."""
    known = samples([True] * n_pos + [False] * n_neg, np.arange(n_pos + n_neg).tolist())

    with pytest.raises(DataError) as caught:
        choose(rule, known)

    assert message in caught.value.message
    assert "\n" not in caught.value.message


def test_groups_count_and_not_samples() -> None:
    """Forty negatives in four groups say as little as four."""
    known = ScoredSamples(
        np.array([False] * 40 + [True] * 10),
        np.arange(50.0),
        [f"n{row % 4}" for row in range(40)] + [f"p{row}" for row in range(10)],
    )

    with pytest.raises(DataError, match="40 negatives in 4 groups"):
        choose(RULES["max_fpr"], known)


def test_where_blocking_costs_more_nothing_is_blocked() -> None:
    """A threshold above every score is a choice of costs, too."""
    known = samples([False] * 10 + [True] * 10, [*[0.9] * 10, *[0.1] * 10])

    choice = choose(Rule(name="cost", cost_fp=5.0, cost_fn=1.0), known)

    assert (math.inf, 0, 0) == (
        choice.threshold,
        choice.flagged_pos,
        choice.flagged_neg,
    )


@pytest.mark.parametrize("budget", [0.05, 0.1, 0.3])
def test_the_review_band_is_the_widest_within_its_budget(budget: float) -> None:
    """One score lower, and more than the budget would be reviewed."""
    for seed in range(10):
        known = drawn(seed, ties=True, failed=True)
        low = review_from(budget, 0.5, known)
        cuts = sorted({float(s) for s in known.score if s < 0.5})
        fitting = [
            c
            for c in cuts
            if ((known.score >= c) & (known.score < 0.5)).mean() <= budget
        ]
        assert low == min(fitting, default=None)


@pytest.mark.parametrize(
    ("method", "alpha", "n"), [("crc", 0.05, 19), ("crc", 0.01, 99), ("ltt", 0.05, 59)]
)
@pytest.mark.parametrize("name", ["max_fpr", "min_recall"])
def test_a_promise_takes_so_many_samples(
    method: str, alpha: float, n: int, name: str
) -> None:
    """One fewer is refused with both numbers; with as many there is a threshold."""
    value = alpha if name == "max_fpr" else 1 - alpha
    rule = Rule(name=name, value=value)

    def known(size: int) -> ScoredSamples:
        y = [name == "min_recall"] * size + [name != "min_recall"] * 5
        other = [-1.0] * 5 if name == "min_recall" else [1000.0] * 5
        return samples(y, [*map(float, range(size)), *other])

    assert n == least_n(method, alpha)
    choice = control(method, rule, known(n))
    with pytest.raises(DataError, match=f"{n - 1} .*takes {n}"):
        control(method, rule, known(n - 1))

    if name == "max_fpr":
        assert 0 == choice.flagged_neg
    else:
        assert n == choice.flagged_pos


def test_costs_have_no_risk_to_control() -> None:
    """The message names the rules that have one."""
    with pytest.raises(OptionError, match="--max-fpr, --min-recall"):
        control("crc", RULES["cost"], drawn(0, ties=False, failed=False))


@pytest.mark.parametrize("unit", [1e-11, 1e-6, 1e3, 1e10])
def test_the_unit_of_costs_changes_nothing(unit: float) -> None:
    """In cents or in millions: only the ratio of both costs chooses."""
    for seed in range(20):
        known = drawn(seed, ties=bool(seed % 2), failed=False)
        by_unit = [
            choose(Rule(name="cost", cost_fp=u, cost_fn=3 * u), known, 0.3).threshold
            for u in (1.0, unit)
        ]
        assert by_unit[0] == by_unit[1]
