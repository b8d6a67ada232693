"""Training examples under changing policies."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from safebench.policies import load_policy
from safebench.records import Turn
from safebench_feedback_finetune.formatter import Augmentation, Example, Formatter
from safebench_llamaguard_marginal.prompts import GuardLayout, spoken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.policies import Policy

POLICY = load_policy("llama-guard-3")
ASK = (Turn("user", "How do I pick a lock?"),)
HARMFUL = Example(turns=ASK, harmful=True, codes=("S2", "S10"))
SAFE = Example(turns=ASK, harmful=False)


def render(policy: Policy, turns: Sequence[Turn]) -> str:
    """Return the prompt that the guard is asked with."""
    return GuardLayout(3, policy).render(turns).text


def made(augmentation: Augmentation) -> Formatter:
    """Return a formatter for the policy of Llama Guard 3."""
    return Formatter(POLICY, render, spoken, augmentation)


def named(found: object) -> set[str]:
    """Return the names of the categories that a completion lists."""
    by_code = {c.code: c.name for c in found.policy.categories}  # type: ignore[attr-defined]
    said = found.completion.partition("\n")[2].split(",")  # type: ignore[attr-defined]
    return {by_code[code] for code in said}


def test_without_changes_it_is_the_guards_own_prompt_and_answer() -> None:
    """Prompt as asked, `unsafe` and the codes in the policy's order (S2 before S10)."""
    found = made(Augmentation()).plain(HARMFUL)

    assert render(POLICY, ASK) == found.prompt
    assert found.completion == "unsafe\nS2,S10"
    assert made(Augmentation()).plain(SAFE).completion == "safe"


def test_shuffled_codes_still_name_the_same_categories() -> None:
    """Codes move from one name to another, in the prompt and in the answer alike."""
    formatter = made(Augmentation(drop_others=0))

    found = list(formatter.format([HARMFUL] * 50))

    assert all({"Non-Violent Crimes", "Hate"} == named(one) for one in found)
    assert len({one.completion for one in found}) > 10
    for one in found:
        for category in one.policy.categories:
            assert f"{category.code}: {category.name}." in one.prompt


def test_categories_that_are_not_violated_go_and_the_label_stays() -> None:
    """Some are left out of the prompt; none that is violated is."""
    found = list(made(Augmentation(shuffle=0, drop_others=1)).format([HARMFUL] * 50))

    assert all(one.harmful for one in found)
    assert all({"Non-Violent Crimes", "Hate"} == named(one) for one in found)
    assert min(len(one.policy.categories) for one in found) < 10
    short = [one for one in found if "S5" not in one.policy.codes]
    assert not any("Defamation" in one.prompt for one in short)


def test_dropping_what_is_violated_makes_it_safe_under_that_policy() -> None:
    """The label flips only in a prompt that no longer lists the category."""
    found = list(made(Augmentation(drop_violated=1)).format([HARMFUL] * 30))

    assert {one.completion for one in found} == {"safe"}
    assert not any("Hate." in one.prompt for one in found)


def test_one_text_never_has_two_labels_under_one_prompt() -> None:
    """Equal prompts always ask for equal answers, whatever is drawn."""
    formatter = made(Augmentation(drop_violated=0.5))
    seen: dict[str, str] = {}

    for one in formatter.format([HARMFUL] * 200):
        assert seen.setdefault(one.prompt, one.completion) == one.completion


def test_an_unknown_category_is_never_dropped() -> None:
    """Harmful without a code: the whole policy is listed and no code is asked for."""
    unknown = Example(turns=ASK, harmful=True)

    formatter = made(Augmentation(drop_violated=1, drop_others=1))
    found = list(formatter.format([unknown] * 9))

    assert {one.completion for one in found} == {"unsafe"}
    assert {len(one.policy.categories) for one in found} == {len(POLICY.categories)}


def test_draws_depend_on_seed_and_place_alone() -> None:
    """The same seed gives the same prompts, another seed others."""
    formatter = made(Augmentation())

    first = [one.prompt for one in formatter.format([HARMFUL, SAFE], seed=1)]

    assert first == [one.prompt for one in formatter.format([HARMFUL, SAFE], seed=1)]
    assert first != [one.prompt for one in formatter.format([HARMFUL, SAFE], seed=2)]


def test_every_category_gets_every_code_about_equally_often() -> None:
    """No code keeps its meaning: 14 codes, each within 3 sigma of a 14th."""
    formatter = made(Augmentation(drop_others=0))
    one = Example(turns=ASK, harmful=True, codes=("S1",))

    drawn = Counter(f.completion for f in formatter.format([one] * 1400))

    assert len(drawn) == 14
    assert max(drawn.values()) < 100 + 3.5 * (1400 / 14 * 13 / 14) ** 0.5
    assert min(drawn.values()) > 100 - 3.5 * (1400 / 14 * 13 / 14) ** 0.5


@pytest.mark.parametrize("name", ["shuffle", "drop_others", "drop_violated"])
def test_probabilities_beyond_one_are_refused(name: str) -> None:
    """Named in the message, with the value."""
    with pytest.raises(ValueError, match=f"{name}: from 0 to 1, got 1.5"):
        Augmentation(**{name: 1.5})
