"""The public sets on real data, against the counts of their cards."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset

    Load = Callable[..., Dataset]

# text, rows, positive, negative, task
COUNTS = [
    ("content_moderation_lm2", 1266, 1266, 0, "prompt_harm"),
    ("content_moderation_lm3", 2295, 2295, 0, "prompt_harm"),
    ("openai_moderation", 1680, 522, 1158, "prompt_harm"),
    ("toxic_chat", 600, 76, 524, "prompt_harm"),
    ("toxic_chat:train", 2801, 384, 2417, "prompt_harm"),
    ("wildguardmix", 210, 100, 110, "prompt_harm"),
    ("wildguardmix:train", 3393, 1600, 1793, "prompt_harm"),
    ("wildguardmix_response", 10, 0, 10, "response_harm"),
    ("wildguardmix_refusal", 10, 2, 8, "refusal"),
    ("xstest", 450, 200, 250, "prompt_harm"),
    ("xstest_response", 446, 78, 368, "response_harm"),
    ("xstest_response_refusal", 449, 178, 271, "refusal"),
    ("jbb_behaviors", 200, 100, 100, "prompt_harm"),
    ("jbb_behaviors:harmful", 100, 100, 0, "prompt_harm"),
    ("jbb_behaviors:benign", 100, 0, 100, "prompt_harm"),
    ("beavertails", 3021, 1733, 1288, "response_harm"),
    ("pku_safe_rlhf", 2 * 581, 581, 581, "response_harm"),
    ("pku_safe_rlhf:train", 2 * 3312, 3312, 3312, "response_harm"),
    ("diasafety", 1097, 502, 595, "response_harm"),
    ("diasafety:train", 9017, 4178, 4839, "response_harm"),
    ("catqa", 550, 550, 0, "prompt_harm"),
    ("in_the_wild_jailbreak", 1405, 1405, 0, "jailbreak"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("text", "rows", "positive", "negative", "task"), COUNTS)
def test_every_set_has_the_rows_and_labels_of_its_card(
    load: Load,
    data_root: Path,
    text: str,
    rows: int,
    positive: int,
    negative: int,
    task: str,
) -> None:
    """Rows, classes, task, and a revision that names the local copy."""
    dataset = load(text, data_root=data_root)

    labels = Counter(truth.label.value for truth in dataset.ground_truth)
    assert (rows, positive, negative) == (len(dataset), labels[True], labels[False])
    assert task == dataset.task
    assert {task} == {sample.task for sample in dataset.samples}
    assert dataset.revision.startswith("local:")
    assert rows == len({sample.id for sample in dataset.samples})


@pytest.mark.slow
def test_missing_keys_of_openai_moderation_are_unknown(
    load: Load, data_root: Path
) -> None:
    """Known and positive counts per key are the card's; 755 rows know all eight."""
    dataset = load("openai_moderation", data_root=data_root)

    known: Counter[str] = Counter()
    positive: Counter[str] = Counter()
    for truth in dataset.ground_truth:
        known.update(truth.known)
        positive.update(truth.categories)
    expected = {
        "S": (237, 984),
        "H": (162, 771),
        "V": (94, 1450),
        "HR": (76, 1444),
        "SH": (51, 1447),
        "S3": (85, 994),
        "H2": (41, 761),
        "V2": (24, 1447),
    }
    assert expected == {key: (positive[key], known[key]) for key in expected}
    assert 755 == sum(len(truth.known) == 8 for truth in dataset.ground_truth)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "duplicates"),
    [
        ("content_moderation_lm3", 1),
        ("openai_moderation", 15),
        ("toxic_chat:train", 41),
        ("toxic_chat:test", 3),  # 44 in both splits
    ],
)
def test_duplicates_are_counted_and_kept_apart_by_id(
    load: Load, data_root: Path, text: str, duplicates: int
) -> None:
    """A repeat has its own id with a suffix, and the count says how many there are."""
    dataset = load(text, data_root=data_root)

    assert duplicates == dataset.counts["duplicates"]
    assert duplicates == sum("-" in s.id.rpartition("/")[2] for s in dataset.samples)


def test_xstest_prompts_share_a_group_with_their_contrasts(
    load: Load, data_root: Path
) -> None:
    """Where two prompts of a group name a focus, it is the same but for spelling."""
    dataset = load("xstest", data_root=data_root)

    groups: dict[str, list[str]] = {}
    for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True):
        groups.setdefault(sample.group, []).append((truth.meta["focus"] or "").strip())
    assert {1, 2, 3} == {len(members) for members in groups.values()}
    assert 25 == sum(len(members) == 1 for members in groups.values())
    unequal = [m for m in groups.values() if len(set(m) - {""}) > 1]
    assert [["bank account fraud", "bank fraud"]] == unequal


def test_no_hint_of_the_label_reaches_a_sample(load: Load, data_root: Path) -> None:
    """XSTest's type says contrast for unsafe: it belongs to the ground truth."""
    dataset = load("xstest", data_root=data_root)

    assert all(sample.meta == {} for sample in dataset.samples)
    assert "contrast_homonyms" in {truth.meta["type"] for truth in dataset.ground_truth}


@pytest.mark.slow
def test_jailbreakbench_counterparts_share_a_group(load: Load, data_root: Path) -> None:
    """Each of the 100 goals has one harmful and one benign prompt."""
    dataset = load("jbb_behaviors", data_root=data_root)

    groups: dict[str, set[bool | None]] = {}
    for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True):
        groups.setdefault(sample.group, set()).add(truth.label.value)
    assert 100 == len(groups)
    assert all({True, False} == values for values in groups.values())


@pytest.mark.slow
def test_beavertails_labels_agree_with_its_categories(
    load: Load, data_root: Path
) -> None:
    """Unsafe is any of fourteen categories in every row, so no conflict is counted."""
    dataset = load("beavertails", data_root=data_root)

    assert "label_conflicts" not in dataset.counts
    assert 14 == len(frozenset().union(*(g.categories for g in dataset.ground_truth)))
    assert frozenset({"llamaguard2", "guardreasoner"}) == dataset.contaminates


@pytest.mark.slow
def test_pku_rows_become_pairs(load: Load, data_root: Path) -> None:
    """Two samples a pair, one safer and one unsafer, in one group; old schema."""
    dataset = load("pku_safe_rlhf", data_root=data_root)

    pairs: dict[str, list[tuple[str, str, bool | None]]] = {}
    for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True):
        name, rank = truth.pair
        pairs.setdefault(name, []).append((sample.group, rank, truth.label.value))
    assert 581 == len(pairs)
    for first, second in pairs.values():
        assert first[0] == second[0]
        assert {("safer", False), ("unsafer", True)} == {first[1:], second[1:]}


def test_the_current_pku_schema_brings_severity(load: Load, data_root: Path) -> None:
    """The config with sixteen columns is recognised and gives severity levels."""
    dataset = load("pku_safe_rlhf:alpaca-7b:test", data_root=data_root)

    assert 6 == len(dataset)
    assert "alpaca-7b" == dataset.config
    assert {0, 1, 2, 3} >= {truth.meta["severity"] for truth in dataset.ground_truth}


@pytest.mark.slow
def test_dices_votes_give_a_soft_label(load: Load, data_root: Path) -> None:
    """The plurality agrees with the card wherever votes decide; ties are unknown."""
    dataset = load("dices", data_root=data_root)

    values = Counter(truth.label.value for truth in dataset.ground_truth)
    assert 990 == len(dataset)
    assert (160, 830) >= (values[True], values[False])
    assert values[None] == dataset.counts["unknown_labels"] == 8
    first = dataset.ground_truth[0].label
    assert (46, 72) == first.votes
    assert first.value is True


@pytest.mark.slow
def test_diasafety_irregularities_are_counted_not_fatal(
    load: Load, data_root: Path
) -> None:
    """The training split has empty responses and one conflicting duplicate."""
    counts = load("diasafety:train", data_root=data_root).counts

    assert {"duplicates", "conflicting_duplicates", "empty_responses"} <= counts.keys()


def test_rows_without_a_response_are_left_out_and_counted(
    resolve: Callable[..., object], data_root: Path
) -> None:
    """Of 210 local WildGuardMix test rows 10 have a response; the rest are listed."""
    from safebench.datasets.loader import load_dataset

    messages: list[str] = []
    dataset = load_dataset(
        resolve("wildguardmix_response", data_root=data_root), messages.append
    )

    assert 200 == dataset.counts["skipped"]
    assert any("200 x no response" in message for message in messages)


@pytest.mark.slow
def test_long_texts_are_not_cut(load: Load, data_root: Path) -> None:
    """Very long prompts are whole, and a text is never split at U+2028."""
    dataset = load("in_the_wild_jailbreak", data_root=data_root)

    assert max(len(sample.judged.text) for sample in dataset.samples) > 10_000
