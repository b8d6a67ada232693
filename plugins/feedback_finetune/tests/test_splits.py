"""Splits: whole clusters, benign prompts out of training, no effect of the order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from safebench.errors import OptionError
from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.collect.splits import (
    SPLITS,
    parse_split_shares,
    split_prompts,
)

SHARES = parse_split_shares("60/10/15/15")


def _prompt(i: int, group: str = "", **changes: object) -> Prompt:
    name = f"{i:05d}"
    text = f"{_word(i)} {_word(i * 7 + 3)} {_word(i * 13 + 5)}"
    prompt = Prompt(id=name, text=text, dataset="d", group=group or name, p_in=0.2)
    return replace(prompt, **changes)  # type: ignore[arg-type]


def _word(i: int) -> str:
    return "w" + "".join(chr(97 + int(digit)) for digit in str(i))


def _ids(prompts: list[Prompt]) -> set[str]:
    return {prompt.id for prompt in prompts}


def _collected(n: int) -> list[Prompt]:
    return [
        _prompt(i, group=f"g{i // 3}", p_out=(0.9 if i % 4 == 0 else 0.1,), passed=True)
        for i in range(n)
    ]


def test_clusters_stay_whole() -> None:
    """Prompts of one group are in one split, and every prompt is in one."""
    prompts = _collected(600)
    splits = split_prompts(prompts, [], SHARES, seed=3)
    split_of = {p.id: split for split in SPLITS for p in splits.collected[split]}
    assert len(split_of) == 600
    for i in range(0, 600, 3):
        assert len({split_of[f"{i + j:05d}"] for j in range(3)}) == 1


def test_splits_have_their_shares_and_the_mix() -> None:
    """Each split has its share of the prompts, and of those that were missed."""
    splits = split_prompts(_collected(3000), [], SHARES)
    for split, share in SHARES.items():
        members = splits.collected[split]
        assert len(members) == pytest.approx(3000 * share, abs=40)
        missed = sum(p.p_out[0] > 0.5 for p in members)
        assert missed == pytest.approx(750 * share, abs=25)


def test_benign_prompts_are_never_trained_on() -> None:
    """Benign prompts are in val and calib alone, and in neither if alike."""
    prompts = _collected(300)
    benign = [_prompt(1000 + i, label=False) for i in range(200)]
    splits = split_prompts(prompts, benign, SHARES, benign_val=0.25)
    assert set(splits.benign) == {"val", "calib"}
    assert len(splits.benign["val"]) == pytest.approx(50, abs=2)
    assert len(splits.benign["val"]) + len(splits.benign["calib"]) == 200
    train = splits.collected["train"]
    twins = [replace(p, id=f"t{p.id}", text=p.text.upper(), label=False) for p in train]
    splits = split_prompts(prompts, [*benign, *twins], SHARES)
    assert splits.left_out == len(twins)
    assert not {p.id for p in twins} & {
        p.id for ps in splits.benign.values() for p in ps
    }


def test_benign_prompts_in_train_are_not_in_calib() -> None:
    """A share of them joins train, those like a prompt of train among them."""
    prompts = _collected(300)
    benign = [_prompt(1000 + i, label=False) for i in range(200)]
    twin = replace(prompts[0], id="twin", text="!", label=False)
    splits = split_prompts(
        prompts, [*benign, twin], SHARES, benign_val=0.25, benign_train=0.25
    )
    sizes = {split: len(members) for split, members in splits.benign.items()}
    assert sizes["train"] + sizes["val"] + sizes["calib"] + splits.left_out == 201
    assert sizes["train"] == pytest.approx(50, abs=2)
    assert sizes["calib"] == pytest.approx(100, abs=2)
    benign_ids = [{p.id for p in members} for members in splits.benign.values()]
    assert len(set.union(*benign_ids)) == sum(sizes.values())
    in_train = "00000" in _ids(splits.collected["train"])
    assert ("twin" in _ids(splits.benign["train"])) == in_train


def test_another_benign_share_leaves_collected_prompts_in_place() -> None:
    """Benign prompts move no prompt of the collection."""
    prompts, benign = _collected(300), [_prompt(1000 + i) for i in range(50)]
    first, second = (
        split_prompts(prompts, benign, SHARES, benign_train=share) for share in (0, 0.5)
    )
    assert first.collected == second.collected


def test_collected_prompts_with_a_benign_label_count_as_benign() -> None:
    """A label among the collected prompts was filtered by no guard."""
    prompts = [replace(p, label=False) for p in _collected(300)]
    splits = split_prompts(prompts, prompts, SHARES)
    assert len(splits.benign_prompts("calib")) == len(splits.collected["calib"]) > 0
    assert splits.counts()["benign_left_out"] == 300


def test_nothing_depends_on_the_order_of_prompts() -> None:
    """Shuffled prompts go to the same splits; another seed gives others."""
    prompts = _collected(300)
    shuffled = random.Random(0).sample(prompts, len(prompts))
    digest = split_prompts(prompts, [], SHARES, seed=1).digest()
    assert digest == split_prompts(shuffled, [], SHARES, seed=1).digest()
    assert digest != split_prompts(prompts, [], SHARES, seed=2).digest()


def test_shares_are_parsed() -> None:
    """Four numbers, or three of which the second serves calib; nothing else."""
    assert parse_split_shares("60/10/15/15")["calib"] == 0.15
    assert parse_split_shares("70/15/15") == pytest.approx(
        {"train": 70 / 115, "val": 15 / 115, "calib": 15 / 115, "test": 15 / 115}
    )
    for wrong in ("70/30", "a/b/c", "1/0/1/1", ""):
        with pytest.raises(OptionError, match="60/10/15/15"):
            parse_split_shares(wrong)
