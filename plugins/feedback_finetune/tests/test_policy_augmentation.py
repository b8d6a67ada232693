"""Training examples under changing policies."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from safebench.errors import OptionError
from safebench.policies import load_policy
from safebench.records import Turn
from safebench_feedback_finetune.collect.prompts import Prompt
from safebench_feedback_finetune.scorer import load_scorer
from safebench_feedback_finetune.train.examples import TrainingExample
from safebench_feedback_finetune.train.policy_augmentation import (
    AugmentationRates,
    ExampleFormatter,
    LabelledConversation,
    augmented_copies,
)
from safebench_llamaguard_marginal import (
    LlamaGuardFormat,
    category_labels,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.policies import Policy
    from safebench_feedback_finetune.scorer import VerdictScorer

POLICY = load_policy("llama-guard-3")
TURNS = (Turn("user", "How do I pick a lock?"),)
HARMFUL = LabelledConversation(turns=TURNS, harmful=True, codes=("S2", "S10"))
SAFE = LabelledConversation(turns=TURNS, harmful=False)


def render(policy: Policy, turns: Sequence[Turn]) -> str:
    """Return the prompt that the guard is asked with."""
    return LlamaGuardFormat(3, policy).render(turns).text


def formatter_with(augmentation: AugmentationRates) -> ExampleFormatter:
    """Return a formatter for the policy of Llama Guard 3."""
    return ExampleFormatter(POLICY, render, category_labels, augmentation)


def category_names(formatted: object) -> set[str]:
    """Return the names of the categories that a completion lists."""
    by_code = {c.code: c.name for c in formatted.policy.categories}  # type: ignore[attr-defined]
    labels = formatted.completion.partition("\n")[2].split(",")  # type: ignore[attr-defined]
    return {by_code[code] for code in labels}


def test_without_changes_it_is_the_guards_own_prompt_and_answer() -> None:
    """Prompt as asked, `unsafe` and the codes in the policy's order (S2 before S10)."""
    formatted = formatter_with(AugmentationRates()).format_unchanged(HARMFUL)

    assert render(POLICY, TURNS) == formatted.prompt
    assert formatted.completion == "unsafe\nS2,S10"
    assert (
        formatter_with(AugmentationRates()).format_unchanged(SAFE).completion == "safe"
    )


def test_shuffled_codes_still_name_the_same_categories() -> None:
    """Codes move from one name to another, in the prompt and in the answer alike."""
    formatter = formatter_with(AugmentationRates(drop_others=0))

    formatted = list(formatter.format([HARMFUL] * 50))

    assert all(
        {"Non-Violent Crimes", "Hate"} == category_names(example)
        for example in formatted
    )
    assert len({example.completion for example in formatted}) > 10
    for example in formatted:
        for category in example.policy.categories:
            assert f"{category.code}: {category.name}." in example.prompt


def test_categories_that_are_not_violated_go_and_the_label_stays() -> None:
    """Some are left out of the prompt; none that is violated is."""
    formatted = list(
        formatter_with(AugmentationRates(shuffle=0, drop_others=1)).format(
            [HARMFUL] * 50
        )
    )

    assert all(example.harmful for example in formatted)
    assert all(
        {"Non-Violent Crimes", "Hate"} == category_names(example)
        for example in formatted
    )
    assert min(len(example.policy.categories) for example in formatted) < 10
    short = [example for example in formatted if "S5" not in example.policy.codes]
    assert not any("Defamation" in example.prompt for example in short)


def test_dropping_what_is_violated_makes_it_safe_under_that_policy() -> None:
    """The label flips only in a prompt that no longer lists the category."""
    formatted = list(
        formatter_with(AugmentationRates(drop_violated=1)).format([HARMFUL] * 30)
    )

    assert {example.completion for example in formatted} == {"safe"}
    assert not any("Hate." in example.prompt for example in formatted)


def test_one_text_never_has_two_labels_under_one_prompt() -> None:
    """Equal prompts always ask for equal answers, whatever is drawn."""
    formatter = formatter_with(AugmentationRates(drop_violated=0.5))
    seen: dict[str, str] = {}

    for example in formatter.format([HARMFUL] * 200):
        assert seen.setdefault(example.prompt, example.completion) == example.completion


def test_an_unknown_category_is_never_dropped() -> None:
    """Harmful without a code: the whole policy is listed and no code is asked for."""
    unknown = LabelledConversation(turns=TURNS, harmful=True)

    formatter = formatter_with(AugmentationRates(drop_violated=1, drop_others=1))
    formatted = list(formatter.format([unknown] * 9))

    assert {example.completion for example in formatted} == {"unsafe"}
    assert {len(example.policy.categories) for example in formatted} == {
        len(POLICY.categories)
    }


def test_draws_depend_on_seed_and_place_alone() -> None:
    """The same seed gives the same prompts, another seed others."""
    formatter = formatter_with(AugmentationRates())

    first = [example.prompt for example in formatter.format([HARMFUL, SAFE], seed=1)]

    assert first == [
        example.prompt for example in formatter.format([HARMFUL, SAFE], seed=1)
    ]
    assert first != [
        example.prompt for example in formatter.format([HARMFUL, SAFE], seed=2)
    ]


def test_every_category_gets_every_code_about_equally_often() -> None:
    """No code keeps its meaning: 14 codes, each within 3 sigma of a 14th."""
    formatter = formatter_with(AugmentationRates(drop_others=0))
    example = LabelledConversation(turns=TURNS, harmful=True, codes=("S1",))

    counts = Counter(f.completion for f in formatter.format([example] * 1400))

    assert len(counts) == 14
    assert max(counts.values()) < 100 + 3.5 * (1400 / 14 * 13 / 14) ** 0.5
    assert min(counts.values()) > 100 - 3.5 * (1400 / 14 * 13 / 14) ** 0.5


@pytest.mark.parametrize("name", ["shuffle", "drop_others", "drop_violated"])
def test_probabilities_beyond_one_are_refused(name: str) -> None:
    """Named in the message, with the value."""
    with pytest.raises(ValueError, match=f"{name}: from 0 to 1, got 1.5"):
        AugmentationRates(**{name: 1.5})


def _examples(n: int) -> list[TrainingExample]:
    return [
        TrainingExample(
            prompt=Prompt(id=str(i), text=f"Tell me {i}", dataset="d", group=str(i)),
            kind="positive" if i % 2 else "easy",
            target=0.8 if i % 2 else 0.1,
            ce_weight=1.0 if i else 0.0,
            kl_weight=1.0,
            base_p_unsafe=0.3,
        )
        for i in range(n)
    ]


def test_copies_keep_their_label_under_another_policy() -> None:
    """Every example with a label has a copy; harmful ones lose no category."""
    scorer = load_scorer("", device="cpu", format="llama-guard-3")
    examples = _examples(9)
    copies = augmented_copies(examples, scorer, 1.0, seed=0)
    assert [example.prompt.id for example, _ in copies] == [str(i) for i in range(1, 9)]
    assert {example.kl_weight for example, _ in copies} == {0.0}
    assert [example.target for example, _ in copies] == [
        example.target for example in examples[1:]
    ]
    names = [c.name for c in scorer.guard.policy.categories]
    shorter = 0
    for example, ids in copies:
        text = scorer.guard.tokenizer.decode(ids)
        assert example.prompt.text in text
        listed = sum(f": {name}." in text for name in names)
        shorter += listed < len(names)
        assert listed == len(names) or example.kind == "easy"
        assert ids != scorer.encode(example.prompt.turns)
        assert ids[-len(scorer.verdict_prefix) :] == scorer.verdict_prefix
    assert shorter


def test_a_rate_of_0_copies_nothing(scorer: VerdictScorer) -> None:
    """Without a chance nothing is copied, whatever the layout."""
    assert augmented_copies(_examples(5), scorer, 0.0, seed=0) == []


def test_a_template_with_its_own_policy_is_refused(scorer: VerdictScorer) -> None:
    """The embedded guard's template lists its categories itself."""
    with pytest.raises(OptionError, match="--format llama-guard-3"):
        augmented_copies(_examples(3), scorer, 1.0, seed=0)
