"""Members of an ensemble, read from the evidence of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import expit, softmax

from safebench.analysis.ensemble import positive_probability, read_ensembles
from safebench.evidence import MemberLogits
from safebench.plugins import Plugins
from safebench.results.prediction_reading import read_predictions

if TYPE_CHECKING:
    from .conftest import FakeRun

# harmful minus safe, by sample and member: labels are four positives, four negatives
MARGIN = np.array(
    [[2, 2, 2], [2, 2, -2], [2, -2, -2], [-2, -2, -2],
     [2, 2, 2], [-2, -2, 2], [-2, -2, -2], [-2, -2, -2]]
)  # fmt: skip


def test_members_vote_by_hand(run: FakeRun) -> None:
    """Disagreement, counts of votes, and the labels behind them."""
    run.predict(score=[0.9] * 4 + [0.1] * 4)
    run.record_members(np.stack([MARGIN, np.zeros_like(MARGIN)], axis=2))

    (members,) = read_ensembles(run.folder, read_predictions(run.folder), Plugins())

    assert ("m1", "m2", "m3") == members.agreement.names
    assert [3, 2, 1, 2] == members.n_by_votes.tolist()  # by 0, 1, 2 and 3 votes
    assert [1, 1, 1, 1] == members.n_positive_by_votes.tolist()
    assert [[0, 1, 3], [1, 0, 2], [3, 2, 0]] == pytest.approx(
        8 * members.agreement.disagreement
    )
    assert [6 / 8, 5 / 8, 3 / 8] == pytest.approx(members.agreement.accuracy)


def test_a_run_without_members_has_none(run: FakeRun) -> None:
    """No manifest and no such evidence: no ensemble, and no error."""
    run.predict(score=[0.9] * 8)

    assert [] == read_ensembles(run.folder, read_predictions(run.folder), Plugins())


def test_one_member_is_no_ensemble(run: FakeRun) -> None:
    """A single classifier that records member logits is left out."""
    run.predict(score=[0.9] * 8)
    run.record_members(np.zeros((8, 1, 2)))

    assert [] == read_ensembles(run.folder, read_predictions(run.folder), Plugins())


def batch(link: str, tasks: dict[str, list[object]]) -> MemberLogits:
    """Return two samples with two windows and one, two members, three classes."""
    logits = np.random.default_rng(0).normal(size=(3, 2, 3))
    return MemberLogits(
        {"logits": logits},
        offsets={"W": [0, 2, 3]},
        meta={
            "link": link,
            "classes": ["a", "b", "c"],
            "tasks": tasks,
            "members": ["1", "2"],
        },
    )


def test_softmax_adds_the_positive_classes_and_takes_the_worst_window() -> None:
    """Two of three classes are positive; the first sample has two windows."""
    logits = batch("softmax", {"a": ["jailbreak", 1], "b": ["jailbreak", 1]})
    p = softmax(logits["logits"].astype(float), axis=2)[:, :, :2].sum(axis=2)

    assert [np.maximum(p[0], p[1]), p[2]] == pytest.approx(
        positive_probability(logits, "jailbreak")
    )


def test_sigmoid_without_a_positive_class_is_one_minus_the_negative() -> None:
    """A model that only knows what is safe."""
    logits = batch("sigmoid", {"c": ["prompt_harm", -1]})
    p = 1 - expit(logits["logits"].astype(float))[:, :, 2]

    assert [np.maximum(p[0], p[1]), p[2]] == pytest.approx(
        positive_probability(logits, "prompt_harm")
    )


def test_a_task_without_a_class_has_no_votes() -> None:
    """A harm classifier does not vote on refusal."""
    logits = batch("softmax", {"a": ["prompt_harm", 1]})

    assert positive_probability(logits, "refusal") is None
