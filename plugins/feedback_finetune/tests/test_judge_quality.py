"""The judge against people, and whether it has seen what it judges."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from safebench import Plugins
from safebench_feedback_finetune.collect.collection_folder import (
    CollectionRecord,
    prompt_id,
)
from safebench_feedback_finetune.collect.judge_quality import (
    judge_quality,
    quality_text,
)
from safebench_feedback_finetune.collect.judge_rows import JudgeRows, read_judge_rows
from safebench_feedback_finetune.collect.output_guard import OutputGuard
from safebench_feedback_finetune.options import CollectOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORD = CollectionRecord(
    prompt_id="",
    response_id="",
    prompt="",
    response="r",
    p_in=0.1,
    p_out=0.5,
    categories=(),
    passed=True,
    blocked=True,
    label=None,
    response_label=None,
    group="g",
    dataset="a:test",
    revision="",
    guard="g",
    generator="replay",
)


def records(n: int, copies: int = 1, shift: float = 1.0) -> list[CollectionRecord]:
    """Return n prompts with `copies` responses of one score and label each."""
    rng = np.random.default_rng(0)
    y = rng.random(n) < 0.4
    p = 1 / (1 + np.exp(-rng.normal(shift * y)))
    return [
        replace(
            RECORD,
            prompt_id=str(i),
            response_id=str(copy),
            p_out=float(p[i]),
            response_label=bool(y[i]),
        )
        for i in range(n)
        for copy in range(copies)
    ]


def test_the_auroc_is_scikit_learns() -> None:
    """Of judged responses with a label, by dataset and of all together."""
    first = records(120)
    second = [replace(r, dataset="b", p_out=0.3 * r.p_out) for r in records(60)]
    unlabelled = replace(RECORD, prompt_id="u", p_out=0.9)
    unjudged = replace(RECORD, prompt_id="v", p_out=None, response_label=True)

    found = judge_quality([*first, *second, unlabelled, unjudged])
    assert ["a:test", "b", "all"] == [quality["dataset"] for quality in found]
    for quality, chosen in zip(found, (first, second, [*first, *second]), strict=True):
        labels = [record.response_label for record in chosen]
        expected = roc_auc_score(labels, [record.p_out for record in chosen])
        assert expected == pytest.approx(quality["auroc"])
        mean_p = sum(record.p_out or 0.0 for record in chosen) / len(chosen)
        assert mean_p == pytest.approx(quality["mean_p"])
        assert quality["low"] < expected < quality["high"]
        assert (len(chosen), sum(map(bool, labels))) == (
            quality["n"],
            quality["harmful"],
        )


def test_responses_to_one_prompt_are_drawn_together() -> None:
    """Nine copies of each response say no more than one."""
    (alone,), (copied,) = judge_quality(records(80)), judge_quality(records(80, 9))

    assert alone["auroc"] == pytest.approx(copied["auroc"])
    width, copied_width = (q["high"] - q["low"] for q in (alone, copied))
    assert width == pytest.approx(copied_width, rel=0.25)


def test_prompts_that_the_judge_saw_do_not_count() -> None:
    """They would make it look better than it is."""
    rows = records(80)
    seen = [r.prompt_id for r in rows[:30]]

    assert judge_quality(rows[30:]) == judge_quality(rows, seen)


def test_a_weak_judge_is_warned_of() -> None:
    """Below .65, and with the name of the set; a good one is not."""
    weak = quality_text("j", judge_quality(records(300, shift=0.3)))
    good = quality_text("j", judge_quality(records(300, shift=2.0)))

    assert weak[0].startswith("judge against people on a:test: AUROC 0.5")
    assert "300 labelled responses to 300 prompts; mean p(unsafe) 0.5" in weak[0]
    assert weak[1].startswith("warning: on a:test the judge is below 0.65")
    assert 1 == len(good)


def test_sets_without_peoples_labels_say_so() -> None:
    """Without any label nothing is known; of one class there is no AUROC."""
    assert ["no people's labels"] == [
        line[:18] for line in quality_text("j", judge_quality([RECORD]))
    ]
    one_class = [replace(r, response_label=True) for r in records(5)]
    mixed = [*one_class, replace(RECORD, dataset="b")]
    told = quality_text("j", judge_quality(mixed))
    assert "on a:test: 5 labels of people, all of one class" in told[0]
    assert "on b: no labels of people" in told[1]


def test_prompts_like_a_row_of_the_training_are_found(
    tmp_path: Path, write_rows: Callable[..., Path]
) -> None:
    """By equal text up to case and digits, and by a prompt that links two others."""
    long = "please tell me how to bake a loaf of bread with flour water and salt"
    learnt = write_rows(
        tmp_path / "learnt.jsonl",
        [("How do I bake BREAD?", "x", "safe"), (f"{long} today", "y", "unsafe")],
        *("prompt", "response", "label"),
    )
    options = CollectOptions(
        dataset=("x",),
        out="y",
        output_guard="llamaguard",
        judge_trained_on=(str(learnt),),
    )
    plugins = Plugins()
    guard = OutputGuard(options, plugins, lambda _: None)
    rows = read_judge_rows(guard, options, plugins, lambda _: None)

    texts = ["how do i bake bread??", f"{long} 3", "What is the capital of France?"]
    collected = [(prompt_id(text), text, f"g{i}") for i, text in enumerate(texts)]
    assert sorted(prompt_id(text) for text in texts[:2]) == rows.seen(collected)
    assert "" == rows.unknown
    assert [2] == [source["rows"] for source in rows.sources]


def test_a_judge_of_unknown_training_says_so() -> None:
    """Nothing is taken on trust: no source, no independence."""
    options = CollectOptions(dataset=("x",), out="y", output_guard="llamaguard")
    plugins = Plugins()
    guard = OutputGuard(options, plugins, lambda _: None)
    rows = read_judge_rows(guard, options, plugins, lambda _: None)

    assert "--judge-trained-on DATASET names it" in rows.unknown
    assert [] == rows.sources


@pytest.mark.parametrize("change", ["none", "hash", "missing"])
def test_the_sources_of_an_artifact_are_read_and_compared(
    tmp_path: Path,
    write_rows: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    """What the manifest of a training names is checked by its hash."""
    from safebench.datasets import load_dataset, resolve_dataset
    from safebench_feedback_finetune.collect import judge_rows

    plugins = Plugins()
    dataset = load_dataset(resolve_dataset("starter", plugins), say=lambda _: None)
    source: dict[str, Any] = {
        "part": "train",
        "name": "starter" if change != "missing" else "my_rows",
        "data_hash": dataset.data_hash if change != "hash" else "0" * 64,
    }
    monkeypatch.setattr(judge_rows, "artifact_sources", lambda _: [source])
    options = CollectOptions(dataset=("x",), out="y", output_guard="llamaguard")
    guard = OutputGuard(options, plugins, lambda _: None)
    rows = read_judge_rows(guard, options, plugins, lambda _: None)

    expected = {
        "none": "",
        "hash": "starter is not what the judge was trained on, by its hash",
        "missing": "my_rows is not found: --judge-trained-on names it",
    }
    assert expected[change] == rows.unknown
    assert (len(rows.sources) == 1) == (change == "none")
    assert JudgeRows().seen([("a", "b", "c")]) == []
