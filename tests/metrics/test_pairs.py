"""Metrics of pairs of answers, counted by hand; their index, from a dataset."""

from __future__ import annotations

import numpy as np
import pytest

from safebench.metrics import Outcome, compute
from safebench.metrics.catalog import SPECS
from safebench.metrics.intervals import intervals
from safebench.metrics.pairs import kendall_tau_b, ranking_accuracy, sign_accuracy
from safebench.records import Dataset, Gold, Label, Sample, Turn
from safebench.run.scoring import _pairs, _severity

COST = np.array([-1.0, 2.0, 0.5, 0.5, 3.0, 1.0, -2.0, np.nan])
UNSAFE = np.array([0, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
PAIRS = np.array([[0, 1], [2, 3], [4, 5], [6, 7]])


def outcome(**columns: object) -> Outcome:
    """Build four pairs: right, tied, wrong, half failed; costs above 0 are unsafe."""
    failed = np.isnan(COST)
    given: dict[str, object] = {
        "score": COST,
        "decision": np.where(failed, ~UNSAFE, COST >= 0),
        "threshold": 0.0,
        "pairs": PAIRS,
    }
    return Outcome(
        y=UNSAFE,
        failed=failed,
        groups=list("aabbccdd"),
        **(given | columns),  # type: ignore[arg-type]
    )


def test_ranking_counts_a_tie_as_half() -> None:
    """(1 + 1/2 + 0) / 3; the pair with a failed answer is left out."""
    found = ranking_accuracy(outcome())

    assert (0.5, 3) == (found.value, found.n_scored)
    assert "mixed 1.000 of 1; both unsafe 0.250 of 2" == found.note


def test_sign_takes_every_answer() -> None:
    """Seven answers on the right side, the failed one wrong: 7 of 8."""
    found = sign_accuracy(outcome())
    assert (7 / 8, 8) == (found.value, found.n_scored)


def test_a_cost_on_the_threshold_is_half_right() -> None:
    """A cost of exactly 0 decides nothing."""
    score = np.where(np.arange(8) == 1, 0.0, COST)
    assert 6.5 / 8 == sign_accuracy(outcome(score=score)).value


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
    found = kendall_tau_b(outcome(severity=severity))

    assert agree / (untied[0] * untied[1]) ** 0.5 == pytest.approx(found.value)


def test_rows_only_where_there_are_pairs() -> None:
    """Without pairs and severities no such row is written; with them there are."""
    names = {"ranking_accuracy", "sign_accuracy", "kendall_tau_b"}
    bare = {spec.name for spec, _ in compute(outcome(pairs=None), SPECS)}
    full = {spec.name for spec, _ in compute(outcome(severity=COST), SPECS)}

    assert not names & bare
    assert names <= full


def test_no_whole_pair_is_null() -> None:
    """If every pair has a failed answer there is nothing to rank."""
    found = ranking_accuracy(outcome(pairs=PAIRS[3:]))
    assert (None, 0) == (found.value, found.n_scored)


def test_pairs_are_drawn_with_their_group() -> None:
    """The interval of 40 right pairs in 8 groups is that of 8 right groups."""
    y = np.tile([False, True], 40)
    given = Outcome(
        y=y,
        failed=np.zeros(80, dtype=bool),
        groups=[str(i // 10) for i in range(80)],
        score=y * 1.0,
        pairs=np.arange(80).reshape(40, 2),
    )
    found = intervals(given)["ranking_accuracy"]

    assert (1.0, 8) == (found.value, found.n_groups)
    assert 0.025 ** (1 / 8) == pytest.approx(found.low)


def test_the_index_of_a_dataset() -> None:
    """Places among the rows kept; half a pair and unpaired samples have none."""
    golds = [
        Gold(label=Label(value=True), pair=("a", "unsafer"), meta={"severity": 2}),
        Gold(label=Label(value=False), pair=("a", "safer")),
        Gold(label=Label(value=True)),
        Gold(label=Label(value=True), pair=("b", "unsafer")),
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
        golds=golds,
    )

    found = _pairs(dataset, [1, 0, 3])
    severity = _severity(dataset, [1, 0, 3])
    assert found is not None
    assert severity is not None
    assert [[0, 1]] == found.tolist()
    assert [False, True, False] == (severity == 2).tolist()
    assert _pairs(dataset, [0, 2]) is None
    assert _severity(dataset, [2, 3]) is None
