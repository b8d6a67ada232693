"""Parts: clusters whole, people's benign prompts out of training, one order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from safebench.errors import OptionError
from safebench_feedback_finetune.parts import PARTS, cut, parse_shares
from safebench_feedback_finetune.prompts import Prompt

SHARES = parse_shares("60/10/15/15")


def _prompt(i: int, group: str = "", **given: object) -> Prompt:
    name = f"{i:05d}"
    text = f"{_word(i)} {_word(i * 7 + 3)} {_word(i * 13 + 5)}"
    made = Prompt(id=name, text=text, dataset="d", group=group or name, p_in=0.2)
    return replace(made, **given)  # type: ignore[arg-type]


def _word(i: int) -> str:
    return "w" + "".join(chr(97 + int(digit)) for digit in str(i))


def _ids(prompts: list[Prompt]) -> set[str]:
    return {prompt.id for prompt in prompts}


def _collected(n: int) -> list[Prompt]:
    return [
        _prompt(i, group=f"g{i // 3}", p_out=(0.9 if i % 4 == 0 else 0.1,), passed=True)
        for i in range(n)
    ]


def test_clusters_are_never_parted() -> None:
    """Prompts of one group are in one part, and every prompt is in one."""
    prompts = _collected(600)
    parts = cut(prompts, [], SHARES, seed=3)
    where = {p.id: part for part in PARTS for p in parts.collected[part]}
    assert len(where) == 600
    for i in range(0, 600, 3):
        assert len({where[f"{i + j:05d}"] for j in range(3)}) == 1


def test_parts_have_their_shares_and_the_mix() -> None:
    """Each part has its share of the prompts, and of those that slipped through."""
    parts = cut(_collected(3000), [], SHARES)
    for part, share in SHARES.items():
        found = parts.collected[part]
        assert len(found) == pytest.approx(3000 * share, abs=40)
        slipped = sum(p.p_out[0] > 0.5 for p in found)
        assert slipped == pytest.approx(750 * share, abs=25)


def test_benign_prompts_are_never_trained_on() -> None:
    """People's benign prompts are in val and calib alone, and in neither if alike."""
    prompts = _collected(300)
    fresh = [_prompt(1000 + i, label=False) for i in range(200)]
    parts = cut(prompts, fresh, SHARES, benign_val=0.25)
    assert set(parts.benign) == {"val", "calib"}
    assert len(parts.benign["val"]) == pytest.approx(50, abs=2)
    assert len(parts.benign["val"]) + len(parts.benign["calib"]) == 200
    train = parts.collected["train"]
    twins = [replace(p, id=f"t{p.id}", text=p.text.upper(), label=False) for p in train]
    parts = cut(prompts, [*fresh, *twins], SHARES)
    assert parts.left_out == len(twins)
    assert not {p.id for p in twins} & {
        p.id for ps in parts.benign.values() for p in ps
    }


def test_benign_prompts_that_teach_are_not_the_gates() -> None:
    """A share of them joins train, those like a prompt of train among them."""
    prompts = _collected(300)
    fresh = [_prompt(1000 + i, label=False) for i in range(200)]
    twin = replace(prompts[0], id="twin", text="!", label=False)
    parts = cut(prompts, [*fresh, twin], SHARES, benign_val=0.25, benign_train=0.25)
    sizes = {part: len(found) for part, found in parts.benign.items()}
    assert sizes["train"] + sizes["val"] + sizes["calib"] + parts.left_out == 201
    assert sizes["train"] == pytest.approx(50, abs=2)
    assert sizes["calib"] == pytest.approx(100, abs=2)
    members = [{p.id for p in found} for found in parts.benign.values()]
    assert len(set.union(*members)) == sum(sizes.values())
    where = next(part for part in PARTS if "00000" in _ids(parts.collected[part]))
    assert ("twin" in _ids(parts.benign["train"])) == (where == "train")


def test_another_share_leaves_the_collected_prompts_where_they_are() -> None:
    """What benign prompts do changes no part of the collection."""
    prompts, fresh = _collected(300), [_prompt(1000 + i) for i in range(50)]
    one, two = (cut(prompts, fresh, SHARES, benign_train=share) for share in (0, 0.5))
    assert one.collected == two.collected


def test_collected_prompts_with_a_benign_label_count_as_benign() -> None:
    """What people call benign among all collected prompts was filtered by nobody."""
    prompts = [replace(p, label=False) for p in _collected(300)]
    parts = cut(prompts, prompts, SHARES)
    assert len(parts.benign_of("calib")) == len(parts.collected["calib"]) > 0
    assert parts.counts()["benign_left_out"] == 300


def test_nothing_depends_on_the_order_of_prompts() -> None:
    """Shuffled prompts go to the same parts; another seed gives others."""
    prompts = _collected(300)
    shuffled = random.Random(0).sample(prompts, len(prompts))
    digest = cut(prompts, [], SHARES, seed=1).digest()
    assert digest == cut(shuffled, [], SHARES, seed=1).digest()
    assert digest != cut(prompts, [], SHARES, seed=2).digest()


def test_shares_are_read() -> None:
    """Four numbers, or three of which the second serves calib; nothing else."""
    assert parse_shares("60/10/15/15")["calib"] == 0.15
    assert parse_shares("70/15/15") == pytest.approx(
        {"train": 70 / 115, "val": 15 / 115, "calib": 15 / 115, "test": 15 / 115}
    )
    for wrong in ("70/30", "a/b/c", "1/0/1/1", ""):
        with pytest.raises(OptionError, match="60/10/15/15"):
            parse_shares(wrong)
