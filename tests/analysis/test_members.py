"""Members of an ensemble, read from the evidence of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import expit, softmax

from safebench.analysis.members import members_of, positive_probability
from safebench.analysis.reading import read_predictions
from safebench.evidence import MemberLogits
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from .conftest import FakeRun

# harmful minus safe, by sample and member: labels are four positives, four negatives
MARGIN = np.array(
    [[2, 2, 2], [2, 2, -2], [2, -2, -2], [-2, -2, -2],
     [2, 2, 2], [-2, -2, 2], [-2, -2, -2], [-2, -2, -2]]
)  # fmt: skip


def test_members_vote_by_hand(run: FakeRun) -> None:
    """Disagreement, tally of votes and who is really positive."""
    run.predict(score=[0.9] * 4 + [0.1] * 4)
    run.record_members(np.stack([MARGIN, np.zeros_like(MARGIN)], axis=2))

    (found,) = members_of(run.folder, read_predictions(run.folder), Plugins())

    assert ("m1", "m2", "m3") == found.agreement.names
    assert [3, 2, 1, 2] == found.tally.tolist()  # by 0, 1, 2 and 3 votes
    assert [1, 1, 1, 1] == found.positive.tolist()
    assert [[0, 1, 3], [1, 0, 2], [3, 2, 0]] == pytest.approx(
        8 * found.agreement.differ
    )
    assert [6 / 8, 5 / 8, 3 / 8] == pytest.approx(found.agreement.accuracy)


def test_a_run_without_members_has_none(run: FakeRun) -> None:
    """No manifest and no such evidence: nothing is said."""
    run.predict(score=[0.9] * 8)

    assert [] == members_of(run.folder, read_predictions(run.folder), Plugins())


def test_one_member_is_no_ensemble(run: FakeRun) -> None:
    """A single classifier that records member logits has nobody to differ from."""
    run.predict(score=[0.9] * 8)
    run.record_members(np.zeros((8, 1, 2)))

    assert [] == members_of(run.folder, read_predictions(run.folder), Plugins())


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
    found = batch("softmax", {"a": ["jailbreak", 1], "b": ["jailbreak", 1]})
    p = softmax(found["logits"].astype(float), axis=2)[:, :, :2].sum(axis=2)

    assert [np.maximum(p[0], p[1]), p[2]] == pytest.approx(
        positive_probability(found, "jailbreak")
    )


def test_sigmoid_without_a_positive_class_is_one_minus_the_negative() -> None:
    """A model that only knows what is safe."""
    found = batch("sigmoid", {"c": ["prompt_harm", -1]})
    p = 1 - expit(found["logits"].astype(float))[:, :, 2]

    assert [np.maximum(p[0], p[1]), p[2]] == pytest.approx(
        positive_probability(found, "prompt_harm")
    )


def test_a_task_that_no_class_speaks_of_has_no_votes() -> None:
    """Refusal is nothing that a harm classifier votes on."""
    found = batch("softmax", {"a": ["prompt_harm", 1]})

    assert positive_probability(found, "refusal") is None
