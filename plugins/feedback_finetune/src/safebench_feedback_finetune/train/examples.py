"""Select training examples: which prompts, with which soft labels and weights.

An example has two weights: `ce_weight` of the cross-entropy with its soft label, and
`kl_weight` of the divergence from the base guard. Prompts that the guard let pass are
labelled by the output guard's verdicts on their responses. Prompts that it blocked have
no label, and are replayed so that the guard does not forget them; where a judge of its
own read the responses to them, they may be labelled as the others are. Prompts that
annotators call harmless may join.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from safebench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array
    from safebench_feedback_finetune.collect.prompts import Prompt

ExampleKind = Literal["positive", "hard", "easy", "replay", "benign", "judged"]
Recipe = Literal["ours", "ours_without_kl", "labels_only", "balanced", "unsafe_only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingExample:
    """A prompt to learn from; `target` is the p(unsafe) that it should get."""

    prompt: Prompt
    kind: ExampleKind
    target: float
    ce_weight: float
    kl_weight: float
    base_p_unsafe: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSelection:
    """Settings of the selection.

    A prompt is positive if at least the share `agreement` of its responses was blocked.
    `soft` defines its label: the mean p(unsafe) of its responses, the share of them
    that was blocked, or 0 and 1. `negatives` are kept for each positive (0: all of
    them); the share `hard` of those are hard negatives, which the guard scored highest
    of all that it rightly let pass, with the weight `hard_weight`. Of the prompts that
    it blocked, `replay` are kept for each labelled example; together they weigh as much
    as all blocked prompts. With `blocked` "judged" those of them whose responses were
    judged have the judge's label, and the others are replayed. A prompt with the label
    harmless weighs `benign_weight`.
    """

    recipe: Recipe = "ours"
    agreement: float = 0.5
    soft: Literal["p_out", "block_rate", "hard"] = "p_out"
    negatives: int = 0
    hard: float = 0.25
    hard_weight: float = 2.0
    replay: float = 1.0
    blocked: Literal["replay", "judged"] = "replay"
    benign_weight: float = 1.0
    threshold: float = 0.5
    seed: int = 0


def select_examples(
    prompts: Sequence[Prompt],
    selection: ExampleSelection,
    benign: Sequence[Prompt] = (),
) -> list[TrainingExample]:
    """Return the examples of a recipe; raises DataError if there is no positive.

    `benign` are prompts that annotators call harmless, with the base guard's scores.
    """
    answered = [p for p in prompts if p.passed and p.p_out]
    positives = [
        prompt
        for prompt in answered
        if _block_rate(prompt, selection) >= selection.agreement
        and prompt.label is not False
    ]
    negatives = [
        prompt
        for prompt in answered
        if _block_rate(prompt, selection) < selection.agreement
    ]
    if not positives:
        raise DataError(
            "nothing that passed was blocked at the output, so there is nothing to "
            "learn: collect more prompts, or with a lower --threshold"
        )
    rng = np.random.default_rng(selection.seed)
    supervised = [_supervised_example(p, "positive", 1.0, selection) for p in positives]
    if selection.recipe == "unsafe_only":
        return supervised
    if selection.recipe == "balanced":
        sampled = _sample(negatives, len(positives), rng)
        easy = (_supervised_example(p, "easy", 1.0, selection) for p in sampled)
        return [*supervised, *easy]
    supervised += _weighted_negatives(negatives, len(positives), selection, rng)
    blocked = [p for p in prompts if not p.passed and p.label is not False]
    judged = _judged(prompts, selection)
    judged_ids = {prompt.id for prompt in judged}
    blocked = [p for p in blocked if p.id not in judged_ids]
    replayed = _sample(blocked, round(selection.replay * len(supervised)), rng)
    replay_weight = len(blocked) / len(replayed) if replayed else 0.0
    if selection.recipe == "labels_only":
        # The control without feedback keeps these prompts, to stay near the base guard
        # on them, and learns from annotators' labels alone.
        supervised = [_replay_example(e.prompt, e.ce_weight) for e in supervised]
    weight = selection.benign_weight
    return [
        *supervised,
        *(_supervised_example(p, "judged", 1.0, selection) for p in judged),
        *(_replay_example(p, replay_weight) for p in replayed),
        *(
            _supervised_example(p, "benign", weight, selection)
            for p in benign
            if weight
        ),
    ]


def _judged(prompts: Sequence[Prompt], selection: ExampleSelection) -> list[Prompt]:
    """Return the blocked prompts that are labelled by the judge; raises DataError."""
    if selection.blocked == "replay" or selection.recipe == "labels_only":
        return []
    judged = [
        prompt
        for prompt in prompts
        if not prompt.passed
        and prompt.p_out
        # where annotators say benign and the judge says harmful, neither side counts
        and (
            prompt.label is not False
            or _block_rate(prompt, selection) < selection.agreement
        )
    ]
    if not judged:
        raise DataError(
            "--blocked judged: no response to a blocked prompt was judged in this "
            "collection; feedback collect --output-guard judges them, where a dataset "
            "carries them"
        )
    return judged


def _weighted_negatives(
    negatives: Sequence[Prompt],
    n_positives: int,
    selection: ExampleSelection,
    rng: np.random.Generator,
) -> list[TrainingExample]:
    """Return hard and easy negatives, weighted to keep the natural mix of classes."""
    by_score = sorted(negatives, key=lambda p: (-_p_in(p), p.id))
    n_kept = min(selection.negatives * n_positives or len(negatives), len(negatives))
    n_hard = round(selection.hard * n_kept)
    hard, rest = by_score[:n_hard], by_score[n_hard:]
    easy = _sample(rest, n_kept - n_hard, rng)
    # Easy negatives stand for those that were not drawn as well. The extra weight of
    # the hard ones is taken from them, so that the class keeps its total weight; but
    # not more than half of it, or a large `hard_weight` would leave them none.
    total = len(negatives) - selection.hard_weight * len(hard)
    easy_weight = max(total, len(rest) / 2) / len(easy) if easy else 0.0
    hard_weight = selection.hard_weight
    return [
        *(_supervised_example(p, "hard", hard_weight, selection) for p in hard),
        *(_supervised_example(p, "easy", easy_weight, selection) for p in easy),
    ]


def _supervised_example(
    prompt: Prompt, kind: ExampleKind, weight: float, selection: ExampleSelection
) -> TrainingExample:
    # Positives are where the base guard erred: nothing holds the guard to it there. Nor
    # where a judge says what a blocked prompt drew: the guard may be wrong there, too.
    near_base = selection.recipe in ("ours", "labels_only") and kind not in (
        "positive",
        "judged",
    )
    return TrainingExample(
        prompt=prompt,
        kind=kind,
        target=_soft_label(prompt, kind, selection),
        ce_weight=weight,
        kl_weight=weight if near_base else 0.0,
        base_p_unsafe=_p_in(prompt),
    )


def _replay_example(prompt: Prompt, weight: float) -> TrainingExample:
    """Return an example on which the guard should keep the base guard's verdict."""
    p = _p_in(prompt)
    return TrainingExample(
        prompt=prompt,
        kind="replay",
        target=p,
        ce_weight=0.0,
        kl_weight=weight,
        base_p_unsafe=p,
    )


def _soft_label(
    prompt: Prompt, kind: ExampleKind, selection: ExampleSelection
) -> float:
    if kind == "benign":
        return 0.0
    if selection.recipe in ("unsafe_only", "balanced") or selection.soft == "hard":
        return float(_block_rate(prompt, selection) >= selection.agreement)
    if selection.soft == "p_out":
        return float(prompt.mean_p_out() or 0.0)
    return _block_rate(prompt, selection)


def _block_rate(prompt: Prompt, selection: ExampleSelection) -> float:
    return prompt.block_rate(selection.threshold) or 0.0


def _p_in(prompt: Prompt) -> float:
    assert prompt.p_in is not None, f"{prompt.id} has no score"
    return prompt.p_in


def _sample(
    prompts: Sequence[Prompt], n: int, rng: np.random.Generator
) -> list[Prompt]:
    """Return at most n prompts by id, drawn without replacement."""
    # By id first: the draw must not depend on the order of the collection.
    by_id = sorted(prompts, key=lambda p: p.id)
    if n >= len(by_id):
        return by_id
    rows: Array = np.sort(rng.choice(len(by_id), size=n, replace=False))
    return [by_id[row] for row in rows.tolist()]
