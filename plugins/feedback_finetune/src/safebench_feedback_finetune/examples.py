"""What the guard learns from: which prompts, how harmful each is, how much it counts.

Every example may bear two weights. `ce` is that of the loss on its soft label, `kl`
that of staying near the base guard. Prompts that the guard let through have labels:
what the output guard made of the responses to them. Prompts that it stopped have none,
and are replayed to keep what it knows. Prompts that people call harmless may join them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from safebench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .prompts import Prompt

    Array = np.ndarray[Any, np.dtype[Any]]

Kind = Literal["positive", "hard", "easy", "replay", "benign"]
Recipe = Literal["ours", "ours_without_kl", "labels_only", "balanced", "unsafe_only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A prompt to learn from; `target` is its p(unsafe), `base` the base guard's."""

    prompt: Prompt
    kind: Kind
    target: float
    ce: float
    kl: float
    base: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How examples are chosen.

    A prompt is positive if at least `agreement` of its responses were blocked.
    `soft` says what its label is: the mean p(unsafe) of its responses, the share of
    them that is blocked, or nothing but its class. `negatives` are kept for each
    positive (0: all); of those, `hard` is the share that the guard found most unsafe
    of all that passed rightly. `hard_weight` is what one of them counts. Of the
    prompts that it stopped, `replay` are kept for each example with a label; they
    count for all. What people call harmless counts `benign_weight` each.
    """

    recipe: Recipe = "ours"
    agreement: float = 0.5
    soft: Literal["p_out", "block_rate", "hard"] = "p_out"
    negatives: int = 0
    hard: float = 0.25
    hard_weight: float = 2.0
    replay: float = 1.0
    benign_weight: float = 1.0
    threshold: float = 0.5
    seed: int = 0


def draw(
    prompts: Sequence[Prompt], choice: Choice, benign: Sequence[Prompt] = ()
) -> list[Drawn]:
    """Return the examples of a recipe; raises DataError if there is no positive.

    `benign` are prompts that people call harmless, which the guard was asked about.
    """
    answered = [p for p in prompts if p.passed and p.p_out]
    positives = [p for p in answered if _rate(p, choice) >= choice.agreement]
    negatives = [p for p in answered if _rate(p, choice) < choice.agreement]
    positives = [p for p in positives if p.label is not False]
    if not positives:
        raise DataError(
            "nothing that passed was blocked at the output, so there is nothing to "
            "learn: collect more prompts, or with a lower --threshold"
        )
    rng = np.random.default_rng(choice.seed)
    if choice.recipe == "unsafe_only":
        return [_labelled(p, "positive", 1.0, choice) for p in positives]
    if choice.recipe == "balanced":
        kept = _some(negatives, len(positives), rng)
        return [
            *(_labelled(p, "positive", 1.0, choice) for p in positives),
            *(_labelled(p, "easy", 1.0, choice) for p in kept),
        ]
    labelled = [
        *(_labelled(p, "positive", 1.0, choice) for p in positives),
        *_negatives(negatives, len(positives), choice, rng),
    ]
    stopped = [p for p in prompts if not p.passed and p.label is not False]
    kept = _some(stopped, round(choice.replay * len(labelled)), rng)
    each = len(stopped) / len(kept) if kept else 0.0
    weight = choice.benign_weight
    if choice.recipe == "labels_only":
        labelled = [_replayed(one.prompt, one.ce) for one in labelled]
    return [
        *labelled,
        *(_replayed(p, each) for p in kept),
        *(_labelled(p, "benign", weight, choice) for p in benign if weight),
    ]


def _negatives(
    found: Sequence[Prompt], positives: int, choice: Choice, rng: np.random.Generator
) -> list[Drawn]:
    """Return hard and easy negatives whose weights keep the natural mix of classes."""
    ordered = sorted(found, key=lambda p: (-_p_in(p), p.id))
    wanted = min(choice.negatives * positives or len(found), len(found))
    first = round(choice.hard * wanted)
    hard, rest = ordered[:first], ordered[first:]
    easy = _some(rest, wanted - first, rng)
    # Each easy one stands for those of its kind that were not drawn; the weight that
    # hard ones have on top is taken from them, so that classes keep their mix.
    total = len(found) - choice.hard_weight * len(hard)
    each = max(total, len(rest) / 2) / len(easy) if easy else 0.0
    return [
        *(_labelled(p, "hard", choice.hard_weight, choice) for p in hard),
        *(_labelled(p, "easy", each, choice) for p in easy),
    ]


def _labelled(prompt: Prompt, kind: Kind, weight: float, choice: Choice) -> Drawn:
    near = choice.recipe in ("ours", "labels_only")
    return Drawn(
        prompt=prompt,
        kind=kind,
        target=_target(prompt, kind, choice),
        ce=weight,
        kl=weight if near and kind != "positive" else 0.0,
        base=_p_in(prompt),
    )


def _replayed(prompt: Prompt, weight: float) -> Drawn:
    """Return a prompt about which the guard should go on saying what it did."""
    p = _p_in(prompt)
    return Drawn(prompt=prompt, kind="replay", target=p, ce=0.0, kl=weight, base=p)


def _target(prompt: Prompt, kind: Kind, choice: Choice) -> float:
    if kind == "benign":
        return 0.0
    if choice.recipe in ("unsafe_only", "balanced") or choice.soft == "hard":
        return float(kind == "positive")
    soft = prompt.p_block() if choice.soft == "p_out" else _rate(prompt, choice)
    return float(soft or 0.0)


def _rate(prompt: Prompt, choice: Choice) -> float:
    return prompt.block_rate(choice.threshold) or 0.0


def _p_in(prompt: Prompt) -> float:
    assert prompt.p_in is not None, f"{prompt.id} was not asked"
    return prompt.p_in


def _some(prompts: Sequence[Prompt], n: int, rng: np.random.Generator) -> list[Prompt]:
    """Return n of the prompts at most, drawn without replacement, in their order."""
    ordered = sorted(prompts, key=lambda p: p.id)
    if n >= len(ordered):
        return ordered
    rows: Array = np.sort(rng.choice(len(ordered), size=n, replace=False))
    return [ordered[row] for row in rows.tolist()]
