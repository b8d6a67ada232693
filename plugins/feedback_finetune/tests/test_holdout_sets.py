"""Held-out prompts: their labels from responses, and one prompt of each cluster."""

from __future__ import annotations

from safebench_feedback_finetune.certify.holdout_sets import (
    calibration_set,
    one_per_cluster,
    response_labels,
)
from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.collect.splits import PromptSplits


def _prompt(
    name: str, *p_out: float, passed: bool = True, label: bool | None = None
) -> Prompt:
    return Prompt(
        id=name,
        text=name,
        dataset="d",
        group=name,
        label=label,
        p_out=p_out,
        passed=passed,
    )


PROMPTS = [
    _prompt("mostly blocked", 0.9, 0.8, 0.1),
    _prompt("mostly passed", 0.9, 0.2, 0.1),
    _prompt("blocked, no response", passed=False),
    _prompt("blocked, no response, benign", passed=False, label=False),
    _prompt("passed, no response"),
    _prompt("blocked response, benign", 0.9, label=False),
]


def test_labels_come_from_responses_where_there_are_any() -> None:
    """Without one a blocked prompt is harmful unless benign, any other unknown."""
    clusters = {prompt.id: prompt.id for prompt in PROMPTS}

    labels = response_labels(PROMPTS, clusters, threshold=0.5, agreement=0.5)

    assert {
        "mostly blocked": True,
        "mostly passed": False,
        "blocked, no response": True,
        "blocked response, benign": True,
    } == dict(zip(labels.groups, labels.harmful.tolist(), strict=True))


def test_a_calibration_set_leaves_out_what_annotators_contradict() -> None:
    """Benign by label, harmful by responses and by no label, one of each cluster."""
    twin = _prompt("its twin", 0.9)
    cluster_of = {p.id: p.id for p in PROMPTS} | {twin.id: "mostly blocked"}
    splits = PromptSplits(
        collected={"calib": [*PROMPTS, twin]},
        benign={"calib": [_prompt("from people", label=False)]},
        cluster_of=cluster_of | {"from people": "from people"},
    )

    calib = calibration_set(splits, threshold=0.5, agreement=0.5)

    assert [
        "blocked, no response, benign",
        "blocked response, benign",
        "from people",
    ] == [prompt.id for prompt in calib.benign]
    clusters = [cluster_of[prompt.id] for prompt in calib.harmful]
    assert ["blocked, no response", "mostly blocked"] == sorted(clusters)


def test_one_prompt_of_each_cluster_is_kept() -> None:
    """Every cluster is there once, whatever its size, and the draw repeats."""
    groups = ["a", "b", "a", "c", "b", "a"]

    rows = one_per_cluster(groups, seed=3)

    assert ["a", "b", "c"] == sorted(groups[row] for row in rows)
    assert rows.tolist() == one_per_cluster(groups, seed=3).tolist()
