"""The readers of public sets on a few rows each, written as local copies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import DataError
from safebench.records import Label

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.records import Dataset

    Load = Callable[..., Dataset]
    WriteCopy = Callable[..., None]


@pytest.fixture
def write_copy(tmp_path: Path) -> WriteCopy:
    """Return a function that writes rows as the local copy of one split of a set."""

    def _write_copy(
        hub_id: str, *rows: dict[str, Any], config: str = "default", split: str = "test"
    ) -> None:
        folder = tmp_path / hub_id
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines)
        files = sorted(path.name for path in folder.glob("*.jsonl"))
        card = {
            "configs": [
                {
                    "config_name": config,
                    "data_files": [
                        {"split": name.removesuffix(".jsonl"), "path": name}
                        for name in files
                    ],
                }
            ]
        }
        (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")

    return _write_copy


def values(dataset: Dataset) -> list[bool | None]:
    """Return the labels in order."""
    return [truth.label.value for truth in dataset.ground_truth]


def test_content_moderation_has_the_categories_of_its_policy(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """Every query is unsafe; the column of categories is named after the policy."""
    row = {"unsafe_query": "x", "llama_guard_3_categories": ["S1", "S9"]}
    hub_id = "the-fenrir/MarginalProb4Classification"
    write_copy(hub_id, row, config="lm3", split="train")

    dataset = load("content_moderation_lm3", data_root=tmp_path)

    assert [True] == values(dataset)
    assert frozenset({"S1", "S9"}) == dataset.ground_truth[0].categories
    assert "llama-guard-3" == dataset.policy


def test_openai_moderation_knows_the_keys_that_are_there(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """A missing key or null is unknown; any 1 makes the prompt unsafe."""
    write_copy(
        "mmathys/openai-moderation-api-evaluation",
        {"prompt": "x", "S": 1, "H": 0, "V": None},
        {"prompt": "y", "S": 0, "H": 0, "V": 0},
        split="train",
    )

    dataset = load("openai_moderation", data_root=tmp_path)

    assert [True, False] == values(dataset)
    first, second = dataset.ground_truth
    assert ({"S"}, {"S", "H"}) == (first.categories, first.known)
    assert (set(), {"S", "H", "V"}) == (second.categories, second.known)


def test_blank_prompts_are_skipped(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """They are counted, and nothing else is lost."""
    row = {"user_input": "x", "toxicity": 1, "jailbreaking": 0}
    blank = row | {"user_input": " "}
    write_copy("lmsys/toxic-chat", row, blank, config="toxicchat0124")

    dataset = load("toxic_chat", data_root=tmp_path)

    assert [True] == values(dataset)
    assert {"skipped": 1} == dataset.counts
    assert {"jailbreaking": False} == dataset.ground_truth[0].meta


@pytest.mark.parametrize(
    ("name", "labels", "judged"),
    [
        ("wildguardmix", [True, False], "user"),
        ("wildguardmix_response", [False], "assistant"),
        ("wildguardmix_refusal", [True], "assistant"),
    ],
)
def test_wildguardmix_has_a_label_for_each_task(
    load: Load,
    write_copy: WriteCopy,
    tmp_path: Path,
    name: str,
    labels: list[bool],
    judged: str,
) -> None:
    """A row without a response serves the prompt task alone."""
    row = {
        "prompt": "x",
        "response": "no",
        "prompt_harm_label": "harmful",
        "response_harm_label": "unharmful",
        "response_refusal_label": "refusal",
        "subcategory": "fraud",
        "adversarial": True,
    }
    alone = row | {"prompt": "y", "response": None, "prompt_harm_label": "unharmful"}
    write_copy("allenai/wildguardmix", row, alone, config="wildguardtest")

    dataset = load(name, data_root=tmp_path)

    assert labels == values(dataset)
    assert {judged} == {sample.judged.role for sample in dataset.samples}
    assert {"subcategory": "fraud", "adversarial": True} == dataset.ground_truth[0].meta


def test_xstest_groups_a_prompt_with_the_contrast_at_its_position(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """Types of other names have a family in common; the focus is not compared."""
    types = [
        ("homonyms", "safe"),
        ("homonyms", "safe"),
        ("contrast_homonyms", "unsafe"),
        ("contrast_homonyms", "unsafe"),
        ("nons_group_real_discr", "safe"),
        ("contrast_discr", "unsafe"),
    ]
    rows = [
        {"prompt": str(i), "type": kind, "label": label, "focus": None}
        for i, (kind, label) in enumerate(types)
    ]
    write_copy("walledai/XSTest", *rows)

    dataset = load("xstest", data_root=tmp_path)

    assert [False, False, True, True, False, True] == values(dataset)
    groups = [sample.group for sample in dataset.samples]
    assert groups[0] == groups[2] != groups[1] == groups[3]
    assert groups[4] == groups[5]


def test_jailbreakbench_reads_both_splits_as_one(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """Goals of one index share a group; the revision names both copies."""
    hub_id = "JailbreakBench/JBB-Behaviors"
    for split in ("harmful", "benign"):
        row = {"Goal": split, "Index": 7, "Behavior": "b", "Category": "c"}
        write_copy(hub_id, row, config="behaviors", split=split)

    dataset = load("jbb_behaviors", data_root=tmp_path)

    assert [True, False] == values(dataset)
    assert {"goal-7"} == {sample.group for sample in dataset.samples}
    assert 2 == dataset.revision.count("local:")


def test_lists_of_harmful_prompts(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """CatQA has categories; jailbreaks in the wild are labelled as such."""
    question = {"Question": "q", "Category": "Fraud", "Subcategory": "s"}
    write_copy("declare-lab/CategoricalHarmfulQA", question, split="en")
    shared = {"prompt": "p", "jailbreak": True, "platform": "reddit"}
    hub_id = "TrustAIRLab/in-the-wild-jailbreak-prompts"
    write_copy(hub_id, shared, config="jailbreak_2023_12_25", split="train")

    catqa = load("catqa", data_root=tmp_path)
    wild = load("in_the_wild_jailbreak", data_root=tmp_path)

    assert [True] == values(catqa) == values(wild)
    assert frozenset({"Fraud"}) == catqa.ground_truth[0].categories
    assert {"subcategory": "s"} == catqa.ground_truth[0].meta
    assert ("jailbreak", {"platform": "reddit"}) == (
        wild.task,
        wild.ground_truth[0].meta,
    )


def test_beavertails_is_unsafe_where_it_is_not_safe(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """Categories are a column of booleans."""
    row = {"prompt": "x", "response": "y", "is_safe": False}
    row |= {"category": {"drug_abuse,weapons,banned_substance": True, "terror": False}}
    write_copy("PKU-Alignment/BeaverTails", row, split="30k_test")

    dataset = load("beavertails", data_root=tmp_path)

    assert [True] == values(dataset)
    categories = frozenset({"drug_abuse,weapons,banned_substance"})
    assert categories == dataset.ground_truth[0].categories


PKU_ROW = {
    "prompt": "x",
    "response_0": "a",
    "response_1": "b",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "safer_response_id": 0,
}


def test_pku_rows_are_pairs_with_severities_where_there_are_any(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """Both responses to a prompt, the safer one named by the row."""
    severities = {
        "response_0_severity_level": 0,
        "response_1_severity_level": 3,
        "response_0_harm_category": {"Violence": False},
        "response_1_harm_category": {"Violence": True},
    }
    write_copy("PKU-Alignment/PKU-SafeRLHF", PKU_ROW | severities)

    dataset = load("pku_safe_rlhf", data_root=tmp_path)

    assert [False, True] == values(dataset)
    first, second = dataset.ground_truth
    assert first.pair
    assert second.pair
    assert (first.pair[0], "safer", "unsafer") == (
        second.pair[0],
        first.pair[1],
        second.pair[1],
    )
    assert {"severity": 0, "harms": []} == first.meta
    assert {"severity": 3, "harms": ["Violence"]} == second.meta


def test_other_columns_are_no_pku_rows(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """The columns that are there are listed."""
    write_copy("PKU-Alignment/PKU-SafeRLHF", {"prompt": "x", "chosen": "y"})

    with pytest.raises(DataError, match=r"not a PKU-SafeRLHF row \(columns: prompt, c"):
        load("pku_safe_rlhf", data_root=tmp_path)


def test_diasafety_and_xstest_responses_are_judged(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """Label words of each set, and what goes to the metrics' side."""
    dialogue = {"context": "x", "response": "y", "label": "Unsafe", "category": "c"}
    write_copy("thu-coai/diasafety", dialogue, split="validation")
    answer = {"prompt": "x", "response": "y", "label": "compliance"}
    hub_id = "allenai/xstest-response"
    write_copy(hub_id, answer | {"prompt_type": "t"}, split="response_refusal")

    diasafety = load("diasafety", data_root=tmp_path)
    refusal = load("xstest_response_refusal", data_root=tmp_path)

    assert [True] == values(diasafety)
    assert [False] == values(refusal)
    assert {"category": "c"} == diasafety.ground_truth[0].meta
    assert {"prompt_type": "t"} == refusal.ground_truth[0].meta
    assert "assistant" == refusal.samples[0].judged.role


def test_dices_labels_are_the_plurality_of_ratings(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """One rating a row or one item a row; ties are unknown, and line ends unescaped."""
    ratings = [
        {"item_id": item, "context": "a\\nb", "response": "r", "Q_overall": rating}
        for item, rating in [(1, "Yes"), (1, "Yes"), (1, "No"), (2, "Yes"), (2, "No")]
    ]
    write_copy("google/dices_dataset", *ratings, config="990", split="train")

    dataset = load("dices", data_root=tmp_path)

    assert [True, None] == values(dataset)
    assert Label(value=True, votes=(2, 3)) == dataset.ground_truth[0].label
    assert "a\nb" == dataset.samples[0].turns[0].text
    item = {"item_id": 1, "context": "c", "response": "r"}
    item |= {"n_unsafe_yes": 1, "n_unsafe_no": 4, "n_unsure": 2}
    write_copy("google/dices_dataset", item, config="990", split="train")
    counted = load("dices", data_root=tmp_path)
    assert Label(value=False, votes=(1, 7)) == counted.ground_truth[0].label


def test_dices_kinds_are_the_plurality_of_ratings(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """A kind that most raters see; none where the conversation is harmless."""
    ratings = [
        {
            "item_id": item,
            "context": "c",
            "response": "r",
            "Q_overall": overall,
            "Q2_harmful_content_overall": harm,
            "Q3_bias_overall": bias,
            "Q4_misinformation_overall": "No",
        }
        for item, overall, harm, bias in [
            *[(1, "Yes", "Yes", "No")] * 2,
            (1, "Yes", "No", "Yes"),
            *[(2, "No", "No", "No")] * 2,
            (2, "Yes", "Yes", "No"),
            # all find it harmful, and no kind has most of the votes
            (3, "Yes", "Yes", "No"),
            (3, "Yes", "No", "Yes"),
            # a tie: nobody knows
            (4, "Yes", "Yes", "No"),
            (4, "No", "No", "No"),
        ]
    ]
    write_copy("google/dices_dataset", *ratings, config="990", split="train")

    dataset = load("dices", data_root=tmp_path)

    assert [True, False, True, None] == values(dataset)
    expected = [frozenset({"harmful-content"}), frozenset(), None, None]
    assert expected == [truth.categories for truth in dataset.ground_truth]
    # without one of the kinds, nobody knows which are absent
    for rating in ratings:
        del rating["Q4_misinformation_overall"]
    write_copy("google/dices_dataset", *ratings, config="990", split="train")
    dataset = load("dices", data_root=tmp_path)
    assert [None] * 4 == [truth.categories for truth in dataset.ground_truth]


# name -> hub id, config, split, and a row without what the test changes
COPIES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "toxic_chat": (
        "lmsys/toxic-chat",
        "toxicchat0124",
        "test",
        {"user_input": "x", "jailbreaking": 0},
    ),
    "xstest": (
        "walledai/XSTest",
        "default",
        "test",
        {"prompt": "x", "type": "t", "focus": ""},
    ),
    "diasafety": (
        "thu-coai/diasafety",
        "default",
        "validation",
        {"context": "x", "response": "y", "category": "c"},
    ),
    "beavertails": (
        "PKU-Alignment/BeaverTails",
        "default",
        "30k_test",
        {
            "prompt": "x",
            "response": "y",
            "is_safe": False,
            "category": {"drug_abuse": True},
        },
    ),
    "pku_safe_rlhf": (
        "PKU-Alignment/PKU-SafeRLHF",
        "default",
        "test",
        {
            "prompt": "x",
            "response_0": "a",
            "response_1": "b",
            "is_response_0_safe": True,
            "is_response_1_safe": False,
            "safer_response_id": 0,
        },
    ),
    "dices": (
        "google/dices_dataset",
        "990",
        "train",
        {"context": "x", "response": "y", "item_id": 1},
    ),
    "in_the_wild_jailbreak": (
        "TrustAIRLab/in-the-wild-jailbreak-prompts",
        "jailbreak_2023_12_25",
        "train",
        {"prompt": "x", "platform": "p"},
    ),
}


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("toxic_chat", "toxicity", "maybe"),
        ("toxic_chat", "toxicity", 2),
        ("toxic_chat", "toxicity", -1),
        ("xstest", "label", "contrast"),
        ("diasafety", "label", "Agree"),
        ("beavertails", "is_safe", "maybe"),
        ("beavertails", "category", {"drug_abuse": "maybe"}),
        ("pku_safe_rlhf", "safer_response_id", 2),
        ("pku_safe_rlhf", "is_response_0_safe", 3),
        ("dices", "Q_overall", "agree"),
        ("in_the_wild_jailbreak", "jailbreak", "regular"),
    ],
)
def test_a_label_that_a_reader_does_not_know_is_refused(
    load: Load,
    write_copy: WriteCopy,
    tmp_path: Path,
    name: str,
    column: str,
    value: object,
) -> None:
    """It is not the negative class: a copy may write its labels otherwise."""
    hub_id, config, split, row = COPIES[name]
    write_copy(hub_id, {**row, column: value}, config=config, split=split)

    with pytest.raises(DataError) as caught:
        load(f"{name}:{split}", data_root=tmp_path)

    message = caught.value.format_message()
    label = value["drug_abuse"] if isinstance(value, dict) else value
    assert message.startswith(f"{hub_id}:{split}[0]: ")
    assert f"is {label!r}" in message


@pytest.mark.parametrize(
    ("name", "column", "value", "expected"),
    [
        ("toxic_chat", "toxicity", "0", [False]),
        ("toxic_chat", "toxicity", 1.0, [True]),
        ("toxic_chat", "toxicity", "Toxic", [True]),
        ("toxic_chat", "toxicity", None, [None]),
        ("xstest", "label", "Unsafe", [True]),
        ("diasafety", "label", "safe", [False]),
        ("beavertails", "is_safe", 1, [False]),
        ("beavertails", "is_safe", "0", [True]),
        ("pku_safe_rlhf", "is_response_0_safe", "0.0", [True, True]),
        ("in_the_wild_jailbreak", "jailbreak", "True", [True]),
        ("in_the_wild_jailbreak", "jailbreak", "False", [False]),
    ],
)
def test_labels_in_other_types_mean_the_same(
    load: Load,
    write_copy: WriteCopy,
    tmp_path: Path,
    name: str,
    column: str,
    value: object,
    expected: list[bool | None],
) -> None:
    """Text in place of numbers, as copies by way of CSV have it."""
    hub_id, config, split, row = COPIES[name]
    write_copy(hub_id, {**row, column: value}, config=config, split=split)

    assert expected == values(load(f"{name}:{split}", data_root=tmp_path))


def test_a_copy_without_a_column_is_one_line(
    load: Load, write_copy: WriteCopy, tmp_path: Path
) -> None:
    """Versions of a set differ: what is missed is named with what there is."""
    write_copy("walledai/XSTest", {"prompts": "x", "label": "safe", "type": "t"})

    with pytest.raises(DataError) as caught:
        load("xstest", data_root=tmp_path)

    message = caught.value.format_message()
    assert "no column 'prompt'; did you mean 'prompts'?" in message
    assert "(columns: prompts, label, type)" in message
