"""Where members part, and what all of them get wrong, against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import expit

from safebench.analysis.analyse import analyse
from safebench.analysis.dissent import dissent
from safebench.analysis.reading import read_predictions
from safebench.analysis.sections import sections
from safebench.analysis.sources import Facts
from safebench.analysis.wanted import Wanted
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from safebench.analysis.predictions import Predictions

    from .conftest import FakeRun

# harmful minus safe, by sample and member: labels are four positives, four negatives
MARGIN = np.array(
    [[2, 2, 2], [2, 2, -2], [2, -2, -2], [-3, -2, -2],
     [4, 4, 4], [-2, -2, 2], [-2, -2, -2], [-2, -2, -2]]
)  # fmt: skip


def predictions(run: FakeRun) -> Predictions:
    """Return the eight samples, whatever was decided about them."""
    run.predict(score=[0.9] * len(run.prompts))
    (found,) = read_predictions(run.folder)
    return found


def test_counts_by_hand(run: FakeRun) -> None:
    """Member 3 is against twice and once right; two of three errors are unanimous."""
    found = dissent(predictions(run), expit(MARGIN), np.arange(8), Wanted())

    assert [1, 0, 2] == found.against.tolist()
    assert [1, 0, 0] == found.then_right.tolist()
    assert (3, 2) == (found.errors, found.unanimous)  # 2 by majority, 3 and 4 by all
    assert [("p4", (0, 1, 2)), ("p3", ())] == [(v.id, v.yes) for v in found.alike]
    assert {"p1": (0, 1), "p2": (0,), "p5": (2,)} == {v.id: v.yes for v in found.split}
    assert expit(MARGIN[4]).mean() == pytest.approx(found.alike[0].mean)


def test_a_tie_has_no_majority_to_be_against(run: FakeRun) -> None:
    """Two against two: nobody dissents, and nothing is a wrong majority."""
    p = np.array([[0.9, 0.9, 0.1, 0.1], [0.9, 0.9, 0.9, 0.1]])

    found = dissent(predictions(run), p, np.array([0, 7]), Wanted())

    assert [0, 0, 0, 1] == found.against.tolist()
    assert (1, 0) == (found.errors, found.unanimous)
    assert ["p0", "p7"] == [voted.id for voted in found.split]  # the most even first


def test_slices_against_brute_force(run: FakeRun) -> None:
    """Mean disagreement of all pairs, accuracy of the majority, dissent by member."""
    rng = np.random.default_rng(4)
    run.prompts = [f"prompt {i}" for i in range(90)]
    run.labels = (rng.random(90) < 0.5).tolist()
    kinds = rng.choice(["x", "y", "z"], 90, p=[0.5, 0.45, 0.05])
    facts = [Facts(group=str(i), meta={"kind": k}, text="", length=1)
             for i, k in enumerate(kinds)]  # fmt: skip
    given = replace(predictions(run), facts=tuple(facts))
    p = rng.random((90, 5))

    found = dissent(given, p, np.arange(90), Wanted(columns=("kind",)))

    assert {"x", "y"} == {where.value for where in found.places}  # z has too few
    votes, y = p > 0.5, np.array(run.labels)
    for where in found.places:
        part = kinds == where.value
        pairs = [(votes[part, i] != votes[part, j]).mean()
                 for i, j in combinations(range(5), 2)]  # fmt: skip
        majority = votes[part].sum(axis=1) >= 3
        assert np.mean(pairs) == pytest.approx(where.differ)
        assert (majority == y[part]).mean() == pytest.approx(where.accuracy)
        against = (votes[part] != majority[:, None]).mean(axis=0)
        assert against == pytest.approx(where.against)
    shares = [where.differ for where in found.places]
    assert sorted(shares, reverse=True) == shares


def test_tables_say_which_errors_no_disagreement_can_find(run: FakeRun) -> None:
    """The share of unanimous errors, who was against, and who said positive."""
    run.predict(score=[0.9] * 4 + [0.1] * 4)
    run.record_members(np.stack([MARGIN, np.zeros_like(MARGIN)], axis=2))

    analysis = analyse(run.folder, Wanted(text=True), Plugins(), [])
    found = {s.title.partition(": ")[2]: s for s in sections(analysis)}

    tally = found["how many say positive"]
    assert ["1", "1", "0", "1"] == [row[4] for row in tally.rows]
    assert "2 of 3 wrong majorities are unanimous (66.7 %)" in tally.notes[0]
    against = found["one against the majority"].rows
    assert ("3 m3", "2", "25.0 %", "0", "0.0 %") == against[2]
    alike = found["wrong alike, the surest first"].rows
    assert [("p4", "negative", "all"), ("p3", "positive", "none")] == [
        row[:3] for row in alike
    ]
    divided = {row[0]: row[2] for row in found["most divided"].rows}
    assert {"p1": "1 2", "p2": "1", "p5": "3"} == divided
