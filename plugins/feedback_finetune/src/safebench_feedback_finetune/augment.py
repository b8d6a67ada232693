"""Copies of examples under changed policies, so that the guard goes on reading its own.

A copy has the verdict that its policy asks for, and no weight for staying near the base
guard, whose verdict under that policy nobody knows.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import OptionError
from safebench_llamaguard_marginal.prompts import GuardLayout, InstructLayout, spoken

from .formatter import Example, Formatter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.policies import Policy
    from safebench.records import Turn
    from safebench_llamaguard_marginal.prompts import Layout

    from .examples import Drawn
    from .scorer import VerdictScorer

    Ids = tuple[int, ...]


def varied(
    drawn: Sequence[Drawn], scorer: VerdictScorer, chance: float, seed: int
) -> list[tuple[Drawn, Ids]]:
    """Return copies of examples with a label, each made with that chance, and prompts.

    Categories have another order and other codes; of harmless examples some are left
    out. Raises OptionError for a prompt whose policy cannot be changed.
    """
    rng = np.random.default_rng([seed, 7])
    chosen = [one for one in drawn if one.ce and rng.random() < chance]

    def render(policy: Policy, turns: Sequence[Turn]) -> str:
        return layout_for(scorer, policy).render(turns).text

    formatter = Formatter(scorer.guard.policy, render, spoken)
    asked = [
        Example(turns=o.prompt.turns, harmful=o.kind == "positive") for o in chosen
    ]
    return [
        (replace(one, kl=0.0), _encoded(scorer, made.policy, one.prompt.turns))
        for one, made in zip(chosen, formatter.format(asked, seed), strict=True)
    ]


def layout_for(scorer: VerdictScorer, policy: Policy) -> Layout:
    """Return the guard's own layout for another policy; raises OptionError."""
    name = scorer.guard.layout.name
    if name.startswith("llama-guard-"):
        return GuardLayout(int(name[-1]), policy)
    if name == "instruct":
        return InstructLayout(scorer.guard.tokenizer, policy)
    raise OptionError(
        "augment: this guard's chat template holds its own policy; --format "
        "llama-guard-3, from collecting on, writes one that can be changed"
    )


def _encoded(scorer: VerdictScorer, policy: Policy, turns: Sequence[Turn]) -> Ids:
    """Return the prompt as the scorer builds it, but for its policy."""
    other = copy(scorer)
    other.guard = replace(scorer.guard, layout=layout_for(scorer, policy))
    return other.encode(turns)
