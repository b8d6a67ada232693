"""Scores that belong to tasks: no other task is answered by them."""

from __future__ import annotations

import numpy as np
import pytest

from safebench.evidence import EvidenceBundle, Scores
from safebench.strategies import Context
from safebench.strategies.score import judge


def scores(tasks: dict[str, str]) -> EvidenceBundle:
    """Return two samples with a score for each of two labels."""
    evidence = Scores({"values": np.array([[0.2, 0.9], [0.7, 0.1]])})
    evidence.meta |= {"labels": ["a", "b"], "tasks": tasks, "scale": "probability"}
    return EvidenceBundle({Scores: evidence})


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [({"jailbreak": "a"}, [0.2, 0.7]), ({}, [0.9, 0.7])],
    ids=["of-the-task", "of-no-task"],
)
def test_the_tasks_own_score_counts(
    tasks: dict[str, str], expected: list[float]
) -> None:
    """Without scores of tasks, the largest of all."""
    judged = judge(scores(tasks), Context(task="jailbreak"))

    assert judged.score is not None
    assert expected == judged.score.tolist()


def test_the_score_of_another_task_is_no_answer() -> None:
    """Every sample fails, and says what there is."""
    judged = judge(scores({"injection": "a"}), Context(task="jailbreak"))

    assert judged.score is not None
    assert np.isnan(judged.score).all()
    assert ["no score is for jailbreak: there is injection"] * 2 == judged.errors
