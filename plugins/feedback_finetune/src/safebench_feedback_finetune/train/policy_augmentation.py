"""Training examples with changed policies, so that a guard keeps reading its own.

Categories are listed in another order under other codes, and some are left out, as in
Meta's fine-tuning recipe for Llama Guard. A prompt all of whose violated categories are
left out becomes safe under the policy that is shown. Its prompt lists that shorter
policy, so the two labels of one text do not contradict each other.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import OptionError
from safebench_llamaguard_marginal import (
    LlamaGuardFormat,
    category_labels,
    instruct_format,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from safebench.policies import Category, Policy
    from safebench.records import Turn
    from safebench_feedback_finetune.scorer import VerdictScorer
    from safebench_llamaguard_marginal import PromptFormat

    from .examples import TrainingExample

    Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledConversation:
    """A conversation with its label; `codes` are the violated categories.

    A harmful one without `codes` violates a category that is unknown. No category is
    dropped from its prompt, since it might be the violated one.
    """

    turns: tuple[Turn, ...]
    harmful: bool
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FormattedExample:
    """A rendered prompt, and apart from it the completion to be learnt."""

    prompt: str
    completion: str
    policy: Policy
    harmful: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationRates:
    """Probabilities of each change to the policy of one copy of an example.

    `shuffle` gives the categories another order and other codes. `drop_others` leaves
    out a random part of the categories that are not violated, `drop_violated` all that
    are, so that the label becomes safe.
    """

    shuffle: float = 1.0
    drop_others: float = 0.5
    drop_violated: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for what is no probability."""
        for name in ("shuffle", "drop_others", "drop_violated"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: from 0 to 1, got {value:g}")


class ExampleFormatter:
    """Renders conversations as prompt and completion, under changed policies.

    ``render(policy, turns)`` builds the guard's prompt, ``labels_of(policy)`` returns
    what the guard writes for each category of a policy.
    """

    def __init__(
        self,
        policy: Policy,
        render: Callable[[Policy, Sequence[Turn]], str],
        labels_of: Callable[[Policy], Sequence[str]],
        rates: AugmentationRates | None = None,
    ) -> None:
        self._policy = policy
        self._render = render
        self._labels_of = labels_of
        self._rates = rates or AugmentationRates()

    def format(
        self, conversations: Sequence[LabelledConversation], seed: int = 0
    ) -> Iterator[FormattedExample]:
        """Yield each conversation under a policy of its own.

        The changes depend on the seed and the conversation's place, so that one of them
        can be formatted alone with the same result.
        """
        for place, conversation in enumerate(conversations):
            yield self._format_one(conversation, np.random.default_rng([seed, place]))

    def format_unchanged(self, conversation: LabelledConversation) -> FormattedExample:
        """Return the conversation under the policy as it is."""
        new_code = {code: code for code in self._policy.codes}
        return self._build(conversation, self._policy, new_code)

    def _format_one(
        self, conversation: LabelledConversation, rng: np.random.Generator
    ) -> FormattedExample:
        kept = self._kept_categories(conversation, rng)
        if rng.random() < self._rates.shuffle:
            kept = [kept[i] for i in rng.permutation(len(kept))]
            policy, new_code = self._with_new_codes(kept, rng)
        else:
            policy = replace(self._policy, categories=tuple(kept))
            new_code = {category.code: category.code for category in kept}
        return self._build(conversation, policy, new_code)

    def _kept_categories(
        self, conversation: LabelledConversation, rng: np.random.Generator
    ) -> list[Category]:
        """Return the categories that stay, at least one of them."""
        categories = list(self._policy.categories)
        violated = set(conversation.codes)
        is_known = not conversation.harmful or bool(violated)
        # Both are drawn in any case: a rate of 0 must not shift the draws that follow.
        drop, flip = rng.random(2)
        if violated and flip < self._rates.drop_violated:
            rest = [c for c in categories if c.code not in violated]
            categories = rest or categories
        if is_known and drop < self._rates.drop_others:
            is_kept = rng.random(len(categories)) < rng.uniform(0.3, 1)
            rest = [
                category
                for category, keep in zip(categories, is_kept, strict=True)
                if keep or category.code in violated
            ]
            categories = rest or categories
        return categories

    def _with_new_codes(
        self, kept: list[Category], rng: np.random.Generator
    ) -> tuple[Policy, dict[str, str]]:
        """Return the policy with shuffled codes, and the new code of each old one."""
        codes = [
            self._policy.codes[i] for i in rng.permutation(len(self._policy.codes))
        ]
        # Listed in the order of their new codes, as in every policy.
        codes = sorted(codes[: len(kept)], key=self._policy.codes.index)
        new_code = {c.code: code for c, code in zip(kept, codes, strict=True)}
        categories = tuple(replace(c, code=new_code[c.code]) for c in kept)
        return replace(self._policy, categories=categories), new_code

    def _build(
        self,
        conversation: LabelledConversation,
        policy: Policy,
        new_code: Mapping[str, str],
    ) -> FormattedExample:
        violated = {new_code[code] for code in conversation.codes if code in new_code}
        harmful = conversation.harmful and (bool(violated) or not conversation.codes)
        completion = "unsafe" if harmful else "safe"
        if harmful and violated:
            label_of = dict(zip(policy.codes, self._labels_of(policy), strict=True))
            labels = [label_of[code] for code in policy.codes if code in violated]
            completion += "\n" + ",".join(labels)
        return FormattedExample(
            prompt=self._render(policy, conversation.turns),
            completion=completion,
            policy=policy,
            harmful=harmful,
        )


def augmented_copies(
    examples: Sequence[TrainingExample], scorer: VerdictScorer, rate: float, seed: int
) -> list[tuple[TrainingExample, Ids]]:
    """Return copies of labelled examples with their encoded prompts.

    Each is copied with probability `rate`. Its categories have another order and other
    codes; of harmless examples some categories are left out. A copy keeps its label but
    not the weight of the divergence: the base guard's verdict under that policy is
    unknown. Raises OptionError for a prompt whose policy cannot be changed.
    """
    rng = np.random.default_rng([seed, 7])  # apart from the selection's draws
    copied = [e for e in examples if e.ce_weight and rng.random() < rate]

    def render(policy: Policy, turns: Sequence[Turn]) -> str:
        return format_with_policy(scorer, policy).render(turns).text

    formatter = ExampleFormatter(scorer.guard.policy, render, category_labels)
    conversations = [
        LabelledConversation(turns=e.prompt.turns, harmful=e.kind == "positive")
        for e in copied
    ]
    formatted = formatter.format(conversations, seed)
    return [
        (
            replace(example, kl_weight=0.0),
            _encode_with_policy(scorer, changed.policy, example.prompt.turns),
        )
        for example, changed in zip(copied, formatted, strict=True)
    ]


def format_with_policy(scorer: VerdictScorer, policy: Policy) -> PromptFormat:
    """Return the guard's prompt format with another policy; raises OptionError."""
    name = scorer.guard.prompt_format.name
    if name.startswith("llama-guard-"):
        return LlamaGuardFormat(int(name[-1]), policy)
    if name == "instruct":
        return instruct_format(scorer.guard.tokenizer, policy)
    raise OptionError(
        "augment: this guard's chat template holds its own policy; --format "
        "llama-guard-3, from collecting on, writes one that can be changed"
    )


def _encode_with_policy(
    scorer: VerdictScorer, policy: Policy, turns: Sequence[Turn]
) -> Ids:
    """Return the prompt as the scorer builds it, but for its policy."""
    other = copy(scorer)
    other.guard = replace(
        scorer.guard, prompt_format=format_with_policy(scorer, policy)
    )
    return other.encode(turns)
