"""Disagreement of members and unanimous errors, against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import expit

from safebench.analysis.ensemble import ensemble_disagreement
from safebench.analysis.request import AnalysisRequest
from safebench.analysis.run_analysis import analyze_run
from safebench.analysis.tables import analysis_tables
from safebench.plugins import Plugins
from safebench.results.prediction_reading import read_predictions
from safebench.results.predictions import SampleMetadata

if TYPE_CHECKING:
    from safebench.results.predictions import StoredPredictions

    from .conftest import FakeRun

# harmful minus safe, by sample and member: labels are four positives, four negatives
MARGIN = np.array(
    [[2, 2, 2], [2, 2, -2], [2, -2, -2], [-3, -2, -2],
     [4, 4, 4], [-2, -2, 2], [-2, -2, -2], [-2, -2, -2]]
)  # fmt: skip


def predictions(run: FakeRun) -> StoredPredictions:
    """Return the eight samples, whatever was decided about them."""
    run.predict(score=[0.9] * len(run.prompts))
    (stored,) = read_predictions(run.folder)
    return stored


def test_counts_by_hand(run: FakeRun) -> None:
    """Member 3 is twice in the minority; two of three errors are unanimous."""
    disagreement = ensemble_disagreement(
        predictions(run), expit(MARGIN), np.arange(8), AnalysisRequest()
    )

    assert [1, 0, 2] == disagreement.n_minority.tolist()
    assert [1, 0, 0] == disagreement.n_minority_right.tolist()
    # sample 2 is a wrong majority, 3 and 4 are wrong by all votes
    assert (3, 2) == (disagreement.n_errors, disagreement.n_unanimous_errors)
    assert [("p4", (0, 1, 2)), ("p3", ())] == [
        (v.id, v.positive_members) for v in disagreement.unanimous_errors
    ]
    assert {"p1": (0, 1), "p2": (0,), "p5": (2,)} == {
        v.id: v.positive_members for v in disagreement.most_divided
    }
    assert expit(MARGIN[4]).mean() == pytest.approx(
        disagreement.unanimous_errors[0].mean_probability
    )


def test_a_tie_has_no_majority_to_be_against(run: FakeRun) -> None:
    """Two against two: no minority, and no wrong majority."""
    p = np.array([[0.9, 0.9, 0.1, 0.1], [0.9, 0.9, 0.9, 0.1]])

    disagreement = ensemble_disagreement(
        predictions(run), p, np.array([0, 7]), AnalysisRequest()
    )

    assert [0, 0, 0, 1] == disagreement.n_minority.tolist()
    assert (1, 0) == (disagreement.n_errors, disagreement.n_unanimous_errors)
    # the most even votes come first
    assert ["p0", "p7"] == [sample.id for sample in disagreement.most_divided]


def test_slices_against_brute_force(run: FakeRun) -> None:
    """Mean disagreement of all pairs, accuracy of the majority, minority rates."""
    rng = np.random.default_rng(4)
    run.prompts = [f"prompt {i}" for i in range(90)]
    run.labels = (rng.random(90) < 0.5).tolist()
    kinds = rng.choice(["x", "y", "z"], 90, p=[0.5, 0.45, 0.05])
    metadata = [SampleMetadata(group=str(i), meta={"kind": k}, text="", length=1)
             for i, k in enumerate(kinds)]  # fmt: skip
    with_kinds = replace(predictions(run), metadata=tuple(metadata))
    p = rng.random((90, 5))

    disagreement = ensemble_disagreement(
        with_kinds, p, np.arange(90), AnalysisRequest(slice_columns=("kind",))
    )

    assert {"x", "y"} == {entry.value for entry in disagreement.slices}  # z has too few
    votes, y = p > 0.5, np.array(run.labels)
    for entry in disagreement.slices:
        part = kinds == entry.value
        pairs = [(votes[part, i] != votes[part, j]).mean()
                 for i, j in combinations(range(5), 2)]  # fmt: skip
        majority = votes[part].sum(axis=1) >= 3
        assert np.mean(pairs) == pytest.approx(entry.disagreement)
        assert (majority == y[part]).mean() == pytest.approx(entry.accuracy)
        minority_rate = (votes[part] != majority[:, None]).mean(axis=0)
        assert minority_rate == pytest.approx(entry.minority_rate)
    shares = [entry.disagreement for entry in disagreement.slices]
    assert sorted(shares, reverse=True) == shares


def test_tables_say_which_errors_no_disagreement_can_find(run: FakeRun) -> None:
    """The share of unanimous errors, the minority, and who voted positive."""
    run.predict(score=[0.9] * 4 + [0.1] * 4)
    run.record_members(np.stack([MARGIN, np.zeros_like(MARGIN)], axis=2))

    analysis = analyze_run(
        run.folder, AnalysisRequest(include_text=True), Plugins(), []
    )
    by_title = {
        table.title.partition(": ")[2]: table for table in analysis_tables(analysis)
    }

    votes = by_title["votes for positive"]
    assert ["1", "1", "0", "1"] == [row[4] for row in votes.rows]
    assert "2 of 3 wrong majorities are unanimous (66.7 %)" in votes.notes[0]
    minority = by_title["one against the majority"].rows
    assert ("3 m3", "2", "25.0 %", "0", "0.0 %") == minority[2]
    unanimous = by_title["unanimous errors, most confident first"].rows
    assert [("p4", "negative", "all"), ("p3", "positive", "none")] == [
        row[:3] for row in unanimous
    ]
    divided = {row[0]: row[2] for row in by_title["most divided"].rows}
    assert {"p1": "1 2", "p2": "1", "p5": "3"} == divided
