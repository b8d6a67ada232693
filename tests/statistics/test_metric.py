"""Weighted metrics and their intervals, against scikit-learn, SciPy and repetition."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from safebench.errors import UnknownNameError
from safebench.statistics import (
    MEASURES,
    affordable,
    delong,
    metric_interval,
    metric_intervals,
    metric_value,
    paired_difference,
    shared_draws,
)
from safebench.statistics.draws import draw
from safebench.statistics.measure import evaluate, measure, table
from safebench.statistics.spread import interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Answers, Asah, Grouped

SKLEARN: dict[str, Callable[..., float]] = {
    "auroc": sk.roc_auc_score,
    "auprc": sk.average_precision_score,
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "precision": sk.precision_score,
    "recall": sk.recall_score,
    "f1": sk.f1_score,
    "mcc": sk.matthews_corrcoef,
    "fpr": lambda y, x: 1 - sk.recall_score(~y, ~x),
    "fnr": lambda y, x: 1 - sk.recall_score(y, x),
    "brier": sk.brier_score_loss,
    "nll": partial(sk.log_loss, labels=[False, True]),
}


def column(data: Grouped, name: str) -> np.ndarray:
    """Return what a metric reads: decisions or probabilities."""
    return data.decision if measure(name).kind == "decision" else data.p


@pytest.mark.parametrize("name", SKLEARN)
def test_values_are_those_of_sklearn(data: Grouped, name: str) -> None:
    """The value of the interval is scikit-learn's number."""
    x = column(data, name)
    found = metric_interval(name, data.y, x, x, draws=50)
    expected = SKLEARN[name](data.y, np.clip(x, 1e-12, 1 - 1e-12) if x is data.p else x)

    assert expected == pytest.approx(found.value)
    assert expected == pytest.approx(metric_value(name, data.y, x))


@pytest.mark.parametrize("name", MEASURES)
def test_weights_are_repetition(data: Grouped, name: str) -> None:
    """A draw's value is the metric of the rows repeated as often as they were drawn."""
    x, each = column(data, name).astype(float), measure(name)
    drawn = draw(data.groups, len(x), draws=20, seed=1)
    given = table(each.kind, drawn.index, drawn.groups, data.y, x)
    (values,) = evaluate(given, [each], drawn)
    for position in (0, 1, 7, 20, 21, values.size - 1):
        times = drawn.weights[drawn.index, position]
        y, repeated = np.repeat(data.y, times), np.repeat(x, times)
        if each.kind == "mass":  # edges stay those of the whole sample
            again = table(each.kind, np.arange(len(x)), len(x), data.y, x)
            expected = float(each.formula(again.sums(times[:, None].astype(float)))[0])
        else:
            expected = metric_value(name, y, repeated)
        assert expected == pytest.approx(values[position], abs=1e-12)


def test_draws_are_resamples_of_groups(data: Grouped) -> None:
    """Each draw holds as many groups as there are; each leave-out lacks one."""
    drawn = draw(data.groups, len(data.y), draws=300, seed=2)
    sampled, left_out = drawn.weights[:, 1:301], drawn.weights[:, 301:]

    assert (drawn.groups, drawn.groups) == left_out.shape
    assert np.all(drawn.groups == sampled.sum(axis=0))
    assert np.all(drawn.groups - 1 == left_out.sum(axis=0))
    assert np.all(drawn.groups - 1 == left_out.sum(axis=1))
    assert 1 == pytest.approx(sampled.mean(), abs=1e-9)
    assert 1 - 1 / drawn.groups == pytest.approx(sampled.var(), rel=0.05)


def test_many_groups_are_left_out_in_blocks() -> None:
    """Of 1,000 groups, 200 leave-out samples lack five each, every group once."""
    left_out = draw(None, 1000, draws=1).weights[:, 2:]

    assert (1000, 200) == left_out.shape
    assert np.all(995 == left_out.sum(axis=0))
    assert np.all(199 == left_out.sum(axis=1))


def test_strata_are_drawn_apart() -> None:
    """With strata every draw has as many groups of each kind as the data."""
    strata = np.array([True] * 5 + [False] * 95)
    weights = draw(None, 100, strata=strata, draws=50).weights

    assert np.all(5 == weights[:5, 1:51].sum(axis=0))


def test_a_scarce_class_is_never_lost() -> None:
    """Six positives of 200: no draw is without them, as one in 400 would be."""
    y = np.arange(200) < 6
    weights = shared_draws(y, draws=300).weights

    assert np.all(6 == weights[:6, 1:301].sum(axis=0))
    assert np.ptp(shared_draws(np.arange(200) < 60).weights[:60, 1:].sum(axis=0)) > 5


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_bca_is_scipys(skew: float) -> None:
    """Ends of the Brier score of 40 samples lie where SciPy puts them."""
    rng = np.random.default_rng(7)
    y = np.arange(40) % 2 == 0
    p = np.clip(rng.beta(1 + 2 * y + skew, 2), 0.01, 0.99)
    expected = stats.bootstrap(
        ((p - y) ** 2,), np.mean, n_resamples=40_000, method="BCa", rng=rng
    ).confidence_interval
    found = metric_interval("brier", y, p, draws=40_000)

    width = expected.high - expected.low
    assert "bca" == found.method
    assert expected.low == pytest.approx(found.low, abs=0.02 * width)
    assert expected.high == pytest.approx(found.high, abs=0.02 * width)


def area(y: np.ndarray, score: np.ndarray) -> float:
    """Return the AUROC from the ranks of the positives."""
    m = y.sum()
    ranks = stats.rankdata(score)[y.astype(bool)].sum()
    return (ranks - m * (m + 1) / 2) / (m * (len(y) - m))


def test_bca_of_an_area_is_scipys() -> None:
    """The ends of an AUROC of 60 samples, paired by SciPy, lie where it puts them."""
    rng = np.random.default_rng(3)
    y = np.arange(60) < 30
    score = rng.normal(size=60) + y
    expected = stats.bootstrap(
        (y, score),
        area,
        n_resamples=4_000,
        paired=True,
        vectorized=False,
        method="BCa",
        rng=rng,
    ).confidence_interval
    found = metric_interval("auroc", y, score, draws=20_000)

    assert tuple(expected) == pytest.approx((found.low, found.high), abs=0.015)


def test_an_area_of_independent_samples_agrees_with_delong(asah: Asah) -> None:
    """Bootstrap and DeLong agree on the width of an interval within a tenth."""
    expected = delong(asah.y, asah.scores["ndka"])
    found = metric_interval("auroc", asah.y, asah.scores["ndka"])

    width = expected.high - expected.low  # type: ignore[operator]
    assert width == pytest.approx(found.high - found.low, rel=0.1)  # type: ignore[operator]


def test_copies_in_groups_add_nothing(data: Grouped) -> None:
    """Each sample four times, in one group each: the interval stays as it was."""
    alone = metric_interval("f1", data.y, decision=data.decision)
    copies = np.repeat(np.arange(300), 4)
    together = metric_interval(
        "f1", data.y[copies], decision=data.decision[copies], groups=copies
    )
    apart = metric_interval("f1", data.y[copies], decision=data.decision[copies])

    assert (alone.low, alone.high) == pytest.approx((together.low, together.high))
    assert 0.6 > (apart.high - apart.low) / (alone.high - alone.low)


def test_paired_difference_of_real_guards(answers: dict[str, Answers]) -> None:
    """1B is better than 8B on HarmBench prompts; on Aegis no difference is shown."""
    found = {}
    for name in ("HarmBenchPrompt", "AegisSafetyTest"):
        a, b = answers[f"1B/{name}"], answers[f"8B/{name}"]
        found[name] = paired_difference("f1", a.y, a.decision, b.decision)

    assert 0.9210 - 0.9631 == pytest.approx(found["HarmBenchPrompt"].value, abs=1e-4)
    assert found["HarmBenchPrompt"].high < 0
    assert found["HarmBenchPrompt"].p < 0.01
    assert not found["AegisSafetyTest"].excludes_zero
    assert found["AegisSafetyTest"].p > 0.2


@pytest.mark.parametrize("pair", ["wfns-ndka", "ndka-s100b"])
def test_paired_difference_of_areas(asah: Asah, pair: str) -> None:
    """The paired bootstrap of two areas says what pROC's test says."""
    first, second = pair.split("-")
    expected = asah.expected["delong_paired"][pair]
    a, b = asah.scores[second], asah.scores[first]
    found = paired_difference("auroc", asah.y, a, b, draws=5000)

    assert expected["ci"] == pytest.approx([found.low, found.high], abs=0.02)
    assert expected["p"] == pytest.approx(found.p, rel=0.5)
    assert (expected["p"] < 0.05) == found.excludes_zero


def test_p_and_interval_never_disagree() -> None:
    """The p-value is below .05 exactly where the 95 % interval leaves zero out."""
    rng = np.random.default_rng(0)
    shown = []
    for seed in range(40):
        y = rng.random(120) < 0.5
        a = rng.normal(size=120) + y
        b = a + rng.normal(size=120) * 0.7 + 0.25 * y
        found = paired_difference("auroc", y, a, b, draws=400, seed=seed)
        shown.append(found.excludes_zero)
        assert found.excludes_zero == (found.p is not None and found.p < 0.05)
    assert 0 < sum(shown) < 40


def test_equal_seeds_give_equal_ends(data: Grouped) -> None:
    """The same seed repeats an interval; the names of the groups do not matter."""
    ask: Callable[..., Any] = partial(metric_interval, "auroc", data.y, data.p)
    named = [f"g{group:03d}" for group in data.groups]

    assert ask(groups=data.groups, seed=1) == ask(groups=named, seed=1)
    assert ask(groups=data.groups, seed=1) != ask(groups=data.groups, seed=2)


def test_a_missing_score_is_left_out(data: Grouped) -> None:
    """NaN leaves a sample out of the value; it is lost to both sides of a pair."""
    holes = np.where(np.arange(300) < 50, np.nan, data.p)
    expected = sk.roc_auc_score(data.y[50:], data.p[50:])

    assert expected == pytest.approx(metric_interval("auroc", data.y, holes).value)
    assert 0 == paired_difference("auroc", data.y, holes, data.p).value


def test_all_right_has_an_exact_interval() -> None:
    """40 of 40 in 10 groups: what 10 of 10 leave open, not an interval of no width."""
    y = np.arange(40) % 2 == 0
    groups = np.arange(40) // 4
    found = metric_interval("accuracy", y, decision=y, groups=groups)

    assert 0.025 ** (1 / 10) == pytest.approx(found.low)
    assert ("clopper-pearson", 1.0, 10) == (found.method, found.high, found.n_groups)


def test_perfect_f1_has_the_interval_of_its_jaccard_index() -> None:
    """30 positives, all found, no false alarm: J above .025^(1/30), F1 = 2J/(1+J)."""
    y = np.arange(100) < 30
    jaccard = 0.025 ** (1 / 30)
    found = metric_interval("f1", y, decision=y)

    assert 2 * jaccard / (1 + jaccard) == pytest.approx(found.low)


def test_a_perfect_order_has_no_interval() -> None:
    """No draw of an AUROC of 1 differs from 1, and the method says so."""
    y = np.arange(100) < 30
    found = metric_interval("auroc", y, score=y + np.arange(100) * 0.001)

    assert (1.0, None, None) == (found.value, found.low, found.high)
    assert "no spread" == found.method


def test_few_groups_have_no_interval() -> None:
    """Four groups cannot tell how groups differ."""
    y = np.arange(40) % 2 == 0
    found = metric_interval("accuracy", y, decision=~y, groups=np.arange(40) % 4)

    assert (None, "fewer than 5 groups") == (found.low, found.method)


def test_undefined_metrics_are_none() -> None:
    """No positives: no recall, and no area."""
    y = np.zeros(30, dtype=bool)
    found = metric_intervals(
        ["recall", "auroc"], y, np.arange(30.0), y, shared_draws(y, draws=50)
    )

    assert (None, None) == (found["recall"].value, found["auroc"].value)
    assert metric_value("recall", y, y) is None


def test_identical_decisions_do_not_differ(data: Grouped) -> None:
    """Two equal columns differ by 0 in every draw: p is 1."""
    found = paired_difference("f1", data.y, data.decision, data.decision)

    assert (0.0, 0.0, 0.0, 1.0) == (found.value, found.low, found.high, found.p)


def test_unknown_metric_names_the_nearest() -> None:
    """A misspelt metric is refused with the right name."""
    with pytest.raises(UnknownNameError, match="'auprc'"):
        metric_interval("auprcs", [True, False], [0.2, 0.1])


def test_a_missing_column_is_named() -> None:
    """F1 without decisions says which column is missing."""
    with pytest.raises(ValueError, match="f1: no decision column"):
        metric_interval("f1", [True, False], [0.2, 0.1])


@pytest.mark.parametrize(("groups", "draws"), [(10, 2000), (4000, 1000), (10**6, 500)])
def test_many_groups_need_fewer_draws(groups: int, draws: int) -> None:
    """2,000 draws, fewer from 2,000 groups on, never fewer than 500."""
    assert draws == affordable(groups)


def test_a_difference_in_every_group_is_tested_by_flipping_signs() -> None:
    """A flags nothing, b all: recall differs by 1 in 8 of 8 groups, p 2 / 2^8."""
    y = np.arange(60) < 16
    groups = np.arange(60) // 2
    nothing, everything = np.zeros(60, bool), np.ones(60, bool)
    found = paired_difference("recall", y, nothing, everything, groups)

    assert (1.0, None, None) == (found.value, found.low, found.high)
    assert 2 / 2**8 == pytest.approx(found.p)
    assert paired_difference("auroc", y, ~y * 1.0, y * 1.0, groups).p is None


def test_ends_keep_their_order_beyond_the_pole_of_bca() -> None:
    """One group with all influence and a value above every draw: ends at the draws."""
    draws, left_out = np.linspace(0, 1, 4000), np.r_[-1.0, np.zeros(500)]
    values = np.concatenate([[1.5], draws, left_out])
    found = interval(values, 4000, 30, level=0.9999)

    assert 0 <= found.low <= found.high == 1  # type: ignore[operator]


def test_draws_do_not_depend_on_how_many_are_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory is bounded by making few draws together; the draws are the same."""
    whole = draw(None, 500, draws=70, seed=3).weights
    monkeypatch.setattr("safebench.statistics.draws.AT_ONCE", 1600)

    assert np.array_equal(whole, draw(None, 500, draws=70, seed=3).weights)


def test_a_clear_difference_has_a_p_beyond_the_draws() -> None:
    """300 draws cannot tell p below 1/150; the t-test of groups can, and so does this.

    Else 20 tests of anything would find nothing, after Holm's adjustment.
    """
    rng = np.random.default_rng(4)
    groups = np.arange(1200) // 3
    y = rng.random(1200) < 0.5
    wrong = rng.random((2, 1200)) < np.array([[0.30], [0.21]])
    found = paired_difference(
        "accuracy", y, y ^ wrong[0], y ^ wrong[1], groups, draws=300
    )

    gains = (wrong[0].astype(int) - wrong[1]).reshape(400, 3).mean(axis=1)
    expected = stats.ttest_1samp(gains, 0).pvalue
    assert 1e-7 < expected < 1e-4
    assert np.log10(expected) == pytest.approx(np.log10(found.p), abs=0.7)


def test_few_groups_are_not_surer_than_a_t_test() -> None:
    """Six groups that all differ: no draw is at zero, and p is that of a t-test."""
    gains = np.array([1, 2, 4, 1, 3, 2]) / 10
    right = np.arange(60) % 10 < np.repeat(10 * gains, 10)
    y, groups = np.ones(60, bool), np.arange(60) // 10
    found = paired_difference(
        "accuracy", y, np.zeros(60, bool), right, groups, draws=4000
    )

    expected = stats.ttest_1samp(gains, 0).pvalue
    assert expected == pytest.approx(found.p, rel=0.15)
