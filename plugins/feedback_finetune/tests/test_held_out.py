"""The test part by people's labels first, and by the judge second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.collect.splits import PromptSplits
from safebench_feedback_finetune.evaluate.held_out import held_out_sets, truths_text
from safebench_feedback_finetune.train.training_folder import (
    ANNOTATIONS_FILE,
    Annotation,
    write_annotations,
    write_splits,
)

if TYPE_CHECKING:
    from pathlib import Path

# id: the judge's scores, people's labels, whether the judge saw it
PROMPTS: dict[str, tuple[tuple[float, ...], tuple[bool, ...], bool]] = {
    "a": ((0.9,), (False,), False),
    "b": ((0.2, 0.7), (True, False), False),
    "c": ((0.2, 0.3, 0.9), (True, False, False), False),
    "d": ((0.6,), (), False),
    "e": ((0.1,), (True,), True),
}


def write_training(out: Path, *, labels: bool = True) -> dict[str, Any]:
    """Write a test part as a training leaves it, and return its manifest."""
    prompts = [
        Prompt(id=key, text=f"prompt {key}", dataset="x", group=key, p_in=0.1, p_out=p)
        for key, (p, _, _) in PROMPTS.items()
    ]
    empty: dict[str, list[Prompt]] = {"train": [], "val": [], "calib": []}
    splits = PromptSplits(empty | {"test": prompts}, {}, {key: key for key in PROMPTS})
    write_splits(out, splits)
    annotations = {
        key: Annotation(people if labels else (), saw)
        for key, (_, people, saw) in PROMPTS.items()
        if people or saw
    }
    write_annotations(out, splits, annotations)
    return {
        "identity": {"options": {"agreement": 0.5}},
        "threshold": 0.5,
        "collected": {
            "sources": [{"name": "mine:all"}],
            "judge": {"label": "tfidf (cost)"},
        },
    }


def test_people_come_first_and_the_judge_second(tmp_path: Path) -> None:
    """Half of the responses make a prompt harmful; what the judge saw is left out."""
    held_out = held_out_sets(tmp_path, write_training(tmp_path))

    people, judge = held_out.sets
    assert ("harm_rate", "block_rate") == (people.task, judge.task)
    by_people = dict(zip([p.id for p in people.prompts], people.y, strict=True))
    assert {"a": False, "b": True, "c": False} == by_people
    by_judge = dict(zip([p.id for p in judge.prompts], judge.y, strict=True))
    assert {"a": True, "b": True, "c": False, "d": True} == by_judge
    assert 1 == held_out.n_seen
    assert "auroc" in people.compared
    told = truths_text(held_out).splitlines()
    assert "harm_rate, the first truth: people's labels" in told[0]
    assert "block_rate, the second truth: verdicts of tfidf (cost)" in told[1]
    assert "1 prompts left out: the judge learnt from" in told[2]
    assert "1 prompts have no people's labels" in told[3]


def test_what_people_call_harmful_is_what_is_prevented(tmp_path: Path) -> None:
    """Their labels stand in the place of the judge's scores."""
    people, judge = held_out_sets(tmp_path, write_training(tmp_path)).sets

    assert [(0.0,), (1.0, 0.0), (1.0, 0.0, 0.0)] == [p.p_out for p in people.prompts]
    assert (0.5, 0.5) == (people.response_threshold, judge.response_threshold)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_set_without_peoples_labels_says_so(tmp_path: Path, earlier: bool) -> None:
    """The judge is the only truth then, and that is told."""
    manifest = write_training(tmp_path, labels=False)
    if earlier:
        (tmp_path / ANNOTATIONS_FILE).unlink()
    held_out = held_out_sets(tmp_path, manifest)

    assert ["block_rate"] == [test_set.task for test_set in held_out.sets]
    told = truths_text(held_out)
    assert "block_rate, the only truth: verdicts of tfidf" in told
    assert ("earlier version" if earlier else "no people's labels") in told


def test_the_default_judge_is_the_guard_itself(tmp_path: Path) -> None:
    """Where no other one was named."""
    manifest = write_training(tmp_path)
    del manifest["collected"]["judge"]

    held_out = held_out_sets(tmp_path, manifest, limit=2)
    assert "verdicts of the base guard on the responses" == held_out.sets[1].truth
    assert [2, 2] == [len(test_set.y) for test_set in held_out.sets]
