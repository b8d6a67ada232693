"""Which prompts teach, what their labels are, and that the mix of classes stays."""

from __future__ import annotations

import pytest

from safebench.errors import DataError
from safebench_feedback_finetune.examples import Choice, Drawn, draw
from safebench_feedback_finetune.prompts import Prompt


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


SLIPPED = [_prompt(f"p{i}", 0.1 + i / 50, 0.9, 0.8, 0.1) for i in range(10)]
CALM = [_prompt(f"n{i:02d}", i / 100, 0.2) for i in range(40)]
STOPPED = [_prompt(f"s{i}", 0.7) for i in range(20)]
ALL = [*SLIPPED, *CALM, *STOPPED]


def _of(drawn: list[Drawn], kind: str) -> list[Drawn]:
    return [one for one in drawn if one.kind == kind]


def test_unsafe_only_teaches_nothing_but_unsafe() -> None:
    """The oldest recipe takes what slipped through alone, with hard labels."""
    drawn = draw(ALL, Choice(recipe="unsafe_only"))
    assert {one.prompt.id for one in drawn} == {p.id for p in SLIPPED}
    assert {(one.target, one.ce, one.kl) for one in drawn} == {(1.0, 1.0, 0.0)}


def test_balanced_takes_as_many_of_either_class() -> None:
    """As many harmless prompts as harmful ones, drawn by the seed."""
    drawn = draw(ALL, Choice(recipe="balanced"))
    assert [one.target for one in drawn].count(0.0) == len(SLIPPED)
    assert [one.target for one in drawn].count(1.0) == len(SLIPPED)
    again = draw(ALL, Choice(recipe="balanced", seed=1))
    assert {one.prompt.id for one in drawn} != {one.prompt.id for one in again}


def test_soft_labels_are_what_the_output_guard_said() -> None:
    """The mean of p_out, or the share of blocked responses, over all responses."""
    by_mean = _of(draw(ALL, Choice()), "positive")
    assert [one.target for one in by_mean] == pytest.approx([0.6] * 10)
    by_rate = _of(draw(ALL, Choice(soft="block_rate")), "positive")
    assert [one.target for one in by_rate] == pytest.approx([2 / 3] * 10)
    hard = _of(draw(ALL, Choice(soft="hard")), "positive")
    assert {one.target for one in hard} == {1.0}


def test_hard_negatives_are_those_that_looked_most_unsafe() -> None:
    """Of the prompts that passed rightly those of the highest p_in count more."""
    drawn = draw(ALL, Choice(hard=0.25, hard_weight=2.0))
    hard = _of(drawn, "hard")
    assert {one.prompt.id for one in hard} == {f"n{i:02d}" for i in range(30, 40)}
    assert {one.ce for one in hard} == {2.0}


@pytest.mark.parametrize("negatives", [0, 1, 2, 100])
def test_classes_keep_their_natural_mix(negatives: int) -> None:
    """Negatives weigh as many as passed rightly, however few are kept."""
    drawn = draw(ALL, Choice(negatives=negatives))
    weight = sum(one.ce for one in drawn if one.kind in ("hard", "easy"))
    assert weight == pytest.approx(len(CALM))
    assert sum(one.ce for one in _of(drawn, "positive")) == len(SLIPPED)


def test_replayed_prompts_stay_near_the_base_guard() -> None:
    """Stopped prompts bear no label and count for all that were stopped."""
    drawn = draw(ALL, Choice(replay=0.2))
    replayed = _of(drawn, "replay")
    assert len(replayed) == 10  # 0.2 of 50
    assert {one.ce for one in replayed} == {0.0}
    assert sum(one.kl for one in replayed) == pytest.approx(len(STOPPED))
    assert {one.base for one in replayed} == {0.7}


def test_kl_rests_on_benign_and_replayed_prompts_alone() -> None:
    """What slipped through is to change; without KL nothing is held."""
    drawn = draw(ALL, Choice())
    assert {one.kl for one in _of(drawn, "positive")} == {0.0}
    assert all(one.kl > 0 for one in drawn if one.kind != "positive")
    without = draw(ALL, Choice(recipe="ours_without_kl"))
    assert {one.kl for one in without if one.kind != "replay"} == {0.0}


BENIGN = [_prompt(f"b{i}", p_in) for i, p_in in enumerate((0.1, 0.8))]


def test_what_people_call_harmless_teaches_so_at_its_own_weight() -> None:
    """Stopped or not: its label is 0, and KL holds it less than the label pulls it."""
    drawn = draw(ALL, Choice(benign_weight=0.5), BENIGN)
    benign = _of(drawn, "benign")
    assert [0.1, 0.8] == [one.base for one in benign]
    assert {(0.0, 0.5)} == {(one.target, one.ce) for one in benign}
    rest = [one for one in drawn if one.kind != "benign"]
    assert draw(ALL, Choice()) == rest
    assert draw(ALL, Choice(benign_weight=0.0), BENIGN) == rest


def test_labels_alone_teach_nothing_that_the_output_guard_said() -> None:
    """The same prompts as ours, of which all but the benign only stay what they are."""
    drawn = draw(ALL, Choice(recipe="labels_only"), BENIGN)
    ours = draw(ALL, Choice(), BENIGN)
    assert [one.prompt for one in ours] == [one.prompt for one in drawn]
    assert _of(ours, "benign") == _of(drawn, "benign")
    rest = [one for one in drawn if one.kind != "benign"]
    assert {("replay", 0.0)} == {(one.kind, one.ce) for one in rest}
    assert all(one.target == one.base == one.prompt.p_in for one in rest)
    assert [one.ce or one.kl for one in ours if one.kind != "benign"] == [
        one.kl for one in rest
    ]


def test_people_overrule_the_output_guard() -> None:
    """A prompt that people call benign is never taught as harmful."""
    benign = [_prompt("b", 0.1, 0.9, label=False)]
    drawn = draw([*ALL, *benign], Choice())
    assert "b" not in {one.prompt.id for one in _of(drawn, "positive")}


def test_nothing_slipped_through() -> None:
    """Without a positive there is nothing to learn, and it is said."""
    with pytest.raises(DataError, match="nothing to learn"):
        draw(CALM, Choice())
