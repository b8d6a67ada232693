"""Which prompts teach, what their labels are, and that the mix of classes stays."""

from __future__ import annotations

import pytest

from safebench.errors import DataError
from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.train.examples import (
    ExampleSelection,
    TrainingExample,
    select_examples,
)


def _prompt(name: str, p_in: float, *p_out: float, label: bool | None = None) -> Prompt:
    return Prompt(
        id=name,
        text=name,
        dataset="d",
        group=name,
        label=label,
        p_in=p_in,
        p_out=p_out,
        passed=p_in < 0.5,
    )


MISSED = [_prompt(f"p{i}", 0.1 + i / 50, 0.9, 0.8, 0.1) for i in range(10)]
HARMLESS = [_prompt(f"n{i:02d}", i / 100, 0.2) for i in range(40)]
BLOCKED = [_prompt(f"s{i}", 0.7) for i in range(20)]
ALL = [*MISSED, *HARMLESS, *BLOCKED]


def _of_kind(examples: list[TrainingExample], kind: str) -> list[TrainingExample]:
    return [example for example in examples if example.kind == kind]


def test_unsafe_only_learns_missed_prompts_alone() -> None:
    """The oldest recipe takes missed prompts alone, with hard labels."""
    examples = select_examples(ALL, ExampleSelection(recipe="unsafe_only"))
    assert {example.prompt.id for example in examples} == {p.id for p in MISSED}
    assert {
        (example.target, example.ce_weight, example.kl_weight) for example in examples
    } == {(1.0, 1.0, 0.0)}


def test_balanced_takes_as_many_of_either_class() -> None:
    """As many harmless prompts as harmful ones, drawn by the seed."""
    examples = select_examples(ALL, ExampleSelection(recipe="balanced"))
    assert [example.target for example in examples].count(0.0) == len(MISSED)
    assert [example.target for example in examples].count(1.0) == len(MISSED)
    reseeded = select_examples(ALL, ExampleSelection(recipe="balanced", seed=1))
    assert {example.prompt.id for example in examples} != {
        example.prompt.id for example in reseeded
    }


def test_soft_labels_are_those_of_the_output_guard() -> None:
    """The mean of p_out, or the share of blocked responses, over all responses."""
    by_mean = _of_kind(select_examples(ALL, ExampleSelection()), "positive")
    assert [example.target for example in by_mean] == pytest.approx([0.6] * 10)
    by_rate = _of_kind(
        select_examples(ALL, ExampleSelection(soft="block_rate")), "positive"
    )
    assert [example.target for example in by_rate] == pytest.approx([2 / 3] * 10)
    hard = _of_kind(select_examples(ALL, ExampleSelection(soft="hard")), "positive")
    assert {example.target for example in hard} == {1.0}


def test_hard_negatives_are_those_that_looked_most_unsafe() -> None:
    """Of the prompts that passed rightly those of the highest p_in count more."""
    examples = select_examples(ALL, ExampleSelection(hard=0.25, hard_weight=2.0))
    hard = _of_kind(examples, "hard")
    assert {example.prompt.id for example in hard} == {
        f"n{i:02d}" for i in range(30, 40)
    }
    assert {example.ce_weight for example in hard} == {2.0}


@pytest.mark.parametrize("negatives", [0, 1, 2, 100])
def test_classes_keep_their_natural_mix(negatives: int) -> None:
    """Negatives weigh as many as passed rightly, however few are kept."""
    examples = select_examples(ALL, ExampleSelection(negatives=negatives))
    weight = sum(
        example.ce_weight for example in examples if example.kind in ("hard", "easy")
    )
    assert weight == pytest.approx(len(HARMLESS))
    assert sum(example.ce_weight for example in _of_kind(examples, "positive")) == len(
        MISSED
    )


def test_replayed_prompts_stay_near_the_base_guard() -> None:
    """Stopped prompts bear no label and count for all that were stopped."""
    examples = select_examples(ALL, ExampleSelection(replay=0.2))
    replayed = _of_kind(examples, "replay")
    assert len(replayed) == 10  # 0.2 of 50
    assert {example.ce_weight for example in replayed} == {0.0}
    assert sum(example.kl_weight for example in replayed) == pytest.approx(len(BLOCKED))
    assert {example.base_p_unsafe for example in replayed} == {0.7}


def test_kl_rests_on_benign_and_replayed_prompts_alone() -> None:
    """Missed prompts are to change; without KL nothing is held."""
    examples = select_examples(ALL, ExampleSelection())
    assert {example.kl_weight for example in _of_kind(examples, "positive")} == {0.0}
    assert all(
        example.kl_weight > 0 for example in examples if example.kind != "positive"
    )
    without = select_examples(ALL, ExampleSelection(recipe="ours_without_kl"))
    assert {example.kl_weight for example in without if example.kind != "replay"} == {
        0.0
    }


BENIGN = [_prompt(f"b{i}", p_in) for i, p_in in enumerate((0.1, 0.8))]


def test_benign_prompts_have_the_label_0_and_a_weight_of_their_own() -> None:
    """Stopped or not: its label is 0, and KL holds it less than the label pulls it."""
    examples = select_examples(ALL, ExampleSelection(benign_weight=0.5), BENIGN)
    benign = _of_kind(examples, "benign")
    assert [0.1, 0.8] == [example.base_p_unsafe for example in benign]
    assert {(0.0, 0.5)} == {(example.target, example.ce_weight) for example in benign}
    rest = [example for example in examples if example.kind != "benign"]
    assert select_examples(ALL, ExampleSelection()) == rest
    assert select_examples(ALL, ExampleSelection(benign_weight=0.0), BENIGN) == rest


def test_labels_only_ignores_the_output_guard() -> None:
    """The same prompts as ours, of which all but the benign only stay what they are."""
    examples = select_examples(ALL, ExampleSelection(recipe="labels_only"), BENIGN)
    ours = select_examples(ALL, ExampleSelection(), BENIGN)
    assert [example.prompt for example in ours] == [
        example.prompt for example in examples
    ]
    assert _of_kind(ours, "benign") == _of_kind(examples, "benign")
    rest = [example for example in examples if example.kind != "benign"]
    assert {("replay", 0.0)} == {(example.kind, example.ce_weight) for example in rest}
    assert all(
        example.target == example.base_p_unsafe == example.prompt.p_in
        for example in rest
    )
    assert [
        example.ce_weight or example.kl_weight
        for example in ours
        if example.kind != "benign"
    ] == [example.kl_weight for example in rest]


def test_a_benign_label_overrules_the_output_guard() -> None:
    """A prompt that people call benign is never taught as harmful."""
    benign = [_prompt("b", 0.1, 0.9, label=False)]
    examples = select_examples([*ALL, *benign], ExampleSelection())
    assert "b" not in {example.prompt.id for example in _of_kind(examples, "positive")}


def test_without_a_missed_prompt_there_is_nothing_to_learn() -> None:
    """Without a positive there is nothing to learn, and it is said."""
    with pytest.raises(DataError, match="nothing to learn"):
        select_examples(HARMLESS, ExampleSelection())


def test_blocked_prompts_may_have_the_label_of_a_judge() -> None:
    """Where their responses were judged; the others are replayed, as all are else."""
    judged = [_prompt("j0", 0.8, 0.1), _prompt("j1", 0.9, 0.7, 0.9)]
    judged.append(_prompt("j2", 0.6, 0.9, label=False))  # people contradict the judge
    prompts = [*ALL, *judged]
    replayed = select_examples(prompts, ExampleSelection())
    examples = select_examples(prompts, ExampleSelection(blocked="judged"))

    assert [] == _of_kind(replayed, "judged")
    by_judge = {e.prompt.id: e for e in _of_kind(examples, "judged")}
    assert {"j0": 0.1, "j1": 0.8} == pytest.approx(
        {name: example.target for name, example in by_judge.items()}
    )
    assert {(1.0, 0.0)} == {(e.ce_weight, e.kl_weight) for e in by_judge.values()}
    left = {example.prompt.id for example in _of_kind(examples, "replay")}
    assert left.isdisjoint(by_judge)
    assert {p.id for p in BLOCKED} <= left
    with pytest.raises(DataError, match="feedback collect --output-guard judges them"):
        select_examples(ALL, ExampleSelection(blocked="judged"))
