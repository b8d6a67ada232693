"""Metrics of pairs of answers, counted by hand; their index, from a dataset."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safebench.metrics import Outcome
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute
from safebench.metrics.intervals import sampling_intervals
from safebench.metrics.pairs import kendall_tau_b, ranking_accuracy, sign_accuracy
from safebench.pipeline.metric_input import _preference_pairs, _severity
from safebench.records import Dataset, GroundTruth, Label, Sample, Turn

COST = np.array([-1.0, 2.0, 0.5, 0.5, 3.0, 1.0, -2.0, np.nan])
UNSAFE = np.array([0, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
PAIRS = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])


def make_outcome(**columns: object) -> Outcome:
    """Build four pairs: right, tied, wrong, half failed; costs above 0 are unsafe."""
    failed = np.isnan(COST)
    defaults: dict[str, object] = {
        "score": COST,
        "decision": np.where(failed, ~UNSAFE, COST >= 0),
        "threshold": 0.0,
        "pairs": PAIRS,
    }
    return Outcome(
        y=UNSAFE,
        failed=failed,
        groups=list("aabbccdd"),
        **(defaults | columns),  # type: ignore[arg-type]
    )


def test_ranking_counts_a_tie_as_half() -> None:
    """(1 + 1/2 + 0) / 3; the pair with a failed answer is left out."""
    result = ranking_accuracy(make_outcome())

    assert (0.5, 3) == (result.value, result.n_scored)
    assert "mixed 1.000 of 1; both unsafe 0.250 of 2" == result.note


def test_sign_takes_every_answer() -> None:
    """Seven answers on the right side, the failed one wrong: 7 of 8."""
    result = sign_accuracy(make_outcome())
    assert (7 / 8, 8) == (result.value, result.n_scored)


def test_a_cost_on_the_threshold_is_half_right() -> None:
    """A cost of exactly 0 decides nothing."""
    score = np.where(np.arange(8) == 1, 0.0, COST)
    assert 6.5 / 8 == sign_accuracy(make_outcome(score=score)).value


def test_tau_by_counting_pairs() -> None:
    """(Concordant - discordant) over the root of untied pairs on both sides."""
    severity = np.array([0, 3, 1, 2, 2, 1, 0, 0.0])
    kept = range(7)
    signs = [
        (np.sign(COST[i] - COST[j]), np.sign(severity[i] - severity[j]))
        for i in kept
        for j in kept
        if i < j
    ]
    agree = sum(a * b for a, b in signs)
    untied = [sum(side != 0 for side in sides) for sides in zip(*signs, strict=True)]
    result = kendall_tau_b(make_outcome(severity=severity))

    assert agree / (untied[0] * untied[1]) ** 0.5 == pytest.approx(result.value)


def test_rows_only_where_there_are_pairs() -> None:
    """Without pairs and severities no such row is written; with them there are."""
    names = {"ranking_accuracy", "sign_accuracy", "kendall_tau_b"}
    bare = {spec.name for spec, _ in compute(make_outcome(pairs=None), SPECS)}
    full = {spec.name for spec, _ in compute(make_outcome(severity=COST), SPECS)}

    assert not names & bare
    assert names <= full


def test_no_whole_pair_is_null() -> None:
    """If every pair has a failed answer there is nothing to rank."""
    result = ranking_accuracy(make_outcome(pairs=PAIRS[3:]))
    assert (None, 0) == (result.value, result.n_scored)


def test_pairs_are_drawn_with_their_group() -> None:
    """The interval of 40 right pairs in 8 groups is that of 8 right groups."""
    y = np.tile([False, True], 40)
    outcome = Outcome(
        y=y,
        failed=np.zeros(80, dtype=bool),
        groups=[str(i // 10) for i in range(80)],
        score=y * 1.0,
        pairs=np.arange(80).reshape(40, 2),
    )
    result = sampling_intervals(outcome, SPECS)["ranking_accuracy"]

    assert (1.0, 8) == (result.value, result.n_groups)
    assert 0.05 ** (1 / 8) == pytest.approx(result.low)


def test_the_index_of_a_dataset() -> None:
    """Places among the rows kept; half a pair and unpaired samples have none."""
    golds = [
        GroundTruth(
            label=Label(value=True), pair=("a", "unsafer"), meta={"severity": 2}
        ),
        GroundTruth(label=Label(value=False), pair=("a", "safer")),
        GroundTruth(label=Label(value=True)),
        GroundTruth(label=Label(value=True), pair=("b", "unsafer")),
    ]
    samples = [Sample(id=str(i), turns=(Turn("user", str(i)),)) for i in range(4)]
    dataset = Dataset(
        name="x",
        config=None,
        split="test",
        task="response_harm",
        policy=None,
        revision="1",
        samples=samples,
        ground_truth=golds,
    )

    result, note = _preference_pairs(dataset, [1, 0, 3])
    severity = _severity(dataset, [1, 0, 3])
    assert result is not None
    assert severity is not None
    assert [[0, 1]] == result.tolist()
    assert not note
    assert [False, True, False] == (severity == 2).tolist()
    assert (None, "") == _preference_pairs(dataset, [0, 2])
    assert _severity(dataset, [2, 3]) is None


def test_rows_of_the_same_answers_are_votes_on_one_pair() -> None:
    """Two of three say that b is worse: one pair; of two that contradict, none."""
    votes = [("a", "b"), ("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("e", "f")]
    samples, truths = [], []
    for row, texts in enumerate(votes):
        for side, text in zip(("safer", "unsafer"), texts, strict=True):
            turns = (Turn("user", "q"), Turn("assistant", text))
            samples.append(Sample(id=f"{row}{side}", turns=turns))
            label = Label(value=side == "unsafer")
            truths.append(GroundTruth(label=label, pair=(str(row), side)))  # type: ignore[arg-type]
    dataset = Dataset(
        name="x",
        config=None,
        split="test",
        task="response_harm",
        policy=None,
        revision="1",
        samples=samples,
        ground_truth=truths,
    )

    pairs, note = _preference_pairs(dataset, range(12))

    assert pairs is not None
    assert [[0, 1], [10, 11]] == pairs.tolist()
    assert "6 rows are votes on 3 distinct pairs" in note
    assert "1 with as many for either answer left out" in note


def test_the_interval_of_tau_has_the_error_of_a_jackknife() -> None:
    """On Fisher's scale, as leaving out one sample after the other gives it."""
    rng = np.random.default_rng(4)
    severity = rng.integers(0, 4, 80).astype(float)
    score = severity + 2 * rng.normal(size=80)
    outcome = Outcome(
        y=severity > 1,
        failed=np.zeros(80, dtype=bool),
        groups=[str(i) for i in range(80)],
        score=score,
        severity=severity,
    )
    interval = sampling_intervals(outcome, SPECS)["kendall_tau_b"]
    taus = [
        stats.kendalltau(np.delete(severity, i), np.delete(score, i)).statistic
        for i in range(80)
    ]
    error = np.sqrt(79 / 80 * ((taus - np.mean(taus)) ** 2).sum())
    assert interval.low is not None
    assert interval.high is not None
    half = (np.arctanh(interval.high) - np.arctanh(interval.low)) / 2

    assert stats.kendalltau(severity, score).statistic == pytest.approx(interval.value)
    # between a normal quantile and one of t, which knows of unequal influences
    assert 1.9 < half / (error / (1 - interval.value**2)) < 2.2
