"""Training examples whose policy changes, so that a guard learns to read it.

What Meta's cookbook for fine-tuning Llama Guard describes, written afresh: categories
are listed in another order under other codes, and some are left out. A prompt whose
every violated category is left out becomes safe under the policy that is shown; as
its prompt lists that shorter policy, the two labels of one text do not contradict.

The prompt comes from the same builder that asks the guard (`GuardLayout`, or the
template of its tokenizer for an unchanged policy), and prompt and completion stay
apart, so that a trainer knows where the answer begins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.policies import Category, Policy
    from safebench.records import Turn

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One labelled conversation; `codes` are the violated categories, none if safe.

    `codes` may be empty for a harmful one whose category nobody knows: its prompt is
    then never shortened, and no code is asked for.
    """

    turns: tuple[Turn, ...]
    harmful: bool
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Formatted:
    """A prompt and, apart from it, what the guard should answer."""

    prompt: str
    completion: str
    policy: Policy
    harmful: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How often policies change: all are probabilities of one copy of an example.

    `drop_others` leaves out a random part of the categories that are not violated,
    `drop_violated` all of those that are (the label flips to safe). `shuffle` gives
    the categories another order and other codes.
    """

    shuffle: float = 1.0
    drop_others: float = 0.5
    drop_violated: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for name in ("shuffle", "drop_others", "drop_violated"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: from 0 to 1, got {value:g}")


class Formatter:
    """Turn examples into prompts and completions.

    `render` builds a prompt for a policy and turns: the guard's own layout.
    `spoken` gives the codes that a guard writes for a policy, in its order.
    """

    def __init__(
        self,
        policy: Policy,
        render: Callable[[Policy, Sequence[Turn]], str],
        spoken: Callable[[Policy], Sequence[str]],
        augmentation: Augmentation | None = None,
    ) -> None:
        self._policy = policy
        self._render = render
        self._spoken = spoken
        self._augmentation = augmentation or Augmentation()

    def format(self, examples: Sequence[Example], seed: int = 0) -> Iterator[Formatted]:
        """Yield each example formatted; draws depend on seed and place alone."""
        for place, example in enumerate(examples):
            rng = np.random.default_rng([seed, place])
            yield self._one(example, rng)

    def plain(self, example: Example) -> Formatted:
        """Return the example under the policy as it is."""
        return self._written(example, self._policy, dict(self._same()))

    def _one(self, example: Example, rng: np.random.Generator) -> Formatted:
        kept = self._kept(example, rng)
        if rng.random() < self._augmentation.shuffle:
            kept = [kept[i] for i in rng.permutation(len(kept))]
            policy, names = self._renumbered(kept, rng)
        else:
            policy = replace(self._policy, categories=tuple(kept))
            names = {category.code: category.code for category in kept}
        return self._written(example, policy, names)

    def _kept(self, example: Example, rng: np.random.Generator) -> list[Category]:
        """Return the categories that stay, at least one of them."""
        categories = list(self._policy.categories)
        violated = set(example.codes)
        known = not example.harmful or bool(violated)
        drop, flip = rng.random(2)
        if violated and flip < self._augmentation.drop_violated:
            rest = [c for c in categories if c.code not in violated]
            categories = rest or categories
        if known and drop < self._augmentation.drop_others:
            stay = rng.random(len(categories)) < rng.uniform(0.3, 1)
            rest = [
                category
                for category, chosen in zip(categories, stay, strict=True)
                if chosen or category.code in violated
            ]
            categories = rest or categories
        return categories

    def _renumbered(
        self, kept: list[Category], rng: np.random.Generator
    ) -> tuple[Policy, dict[str, str]]:
        """Return the policy under shuffled codes, and the new code of each old one."""
        codes = [
            self._policy.codes[i] for i in rng.permutation(len(self._policy.codes))
        ]
        # Listed in the order of their new codes, as every policy is.
        taken = sorted(codes[: len(kept)], key=self._policy.codes.index)
        names = {c.code: code for c, code in zip(kept, taken, strict=True)}
        renamed = tuple(replace(c, code=names[c.code]) for c in kept)
        return replace(self._policy, categories=renamed), names

    def _same(self) -> Iterator[tuple[str, str]]:
        return ((code, code) for code in self._policy.codes)

    def _written(
        self, example: Example, policy: Policy, names: dict[str, str]
    ) -> Formatted:
        violated = {names[code] for code in example.codes if code in names}
        harmful = example.harmful and (bool(violated) or not example.codes)
        completion = "unsafe" if harmful else "safe"
        if harmful and violated:
            said = dict(zip(policy.codes, self._spoken(policy), strict=True))
            listed = [said[code] for code in policy.codes if code in violated]
            completion += "\n" + ",".join(listed)
        prompt = self._render(policy, example.turns)
        return Formatted(
            prompt=prompt, completion=completion, policy=policy, harmful=harmful
        )
