"""The strategies on `MemberLogits`: two pools that score, seven uncertainties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import IncompatibleError
from safebench.evidence import MemberLogits
from safebench.strategies import Judgements
from safebench_bert_ensemble.options import PoolOptions

from . import formulas

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Floats


def mean_logits(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score by the probability of harm at the members' mean logits."""
    p = _pooled_probability(evidence[MemberLogits], context)
    return _score(p, evidence[MemberLogits])


def mean_probs(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score by the mean of the members' probabilities of harm."""
    p = _member_probabilities(evidence[MemberLogits], context).mean(axis=-1)
    return _score(p, evidence[MemberLogits])


def logit_mean_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the entropy of the pooled logits: blind to members that disagree."""
    p = _pooled_probability(evidence[MemberLogits], context)
    return _uncertainty(formulas.entropy(p))


def predictive_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the entropy of the mean probability: noise and disagreement together."""
    return _member_uncertainty(formulas.predictive_entropy, evidence, context)


def expected_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the mean entropy of the members: noise alone."""
    return _member_uncertainty(formulas.expected_entropy, evidence, context)


def mutual_information(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return how much the members disagree, in nats."""
    return _member_uncertainty(formulas.mutual_information, evidence, context)


def vote_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the entropy of the members' decisions."""
    return _member_uncertainty(formulas.vote_entropy, evidence, context)


def variation_ratio(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the share of members that decide against the majority."""
    return _member_uncertainty(formulas.variation_ratio, evidence, context)


def member_std(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return the standard deviation of the members' probabilities."""
    return _member_uncertainty(formulas.member_std, evidence, context)


def task_polarities(evidence: MemberLogits, task: str) -> Floats:
    """Return 1, -1 or 0 for each class, by what it says about the task; (C,).

    Raises `IncompatibleError` where no class says anything about it.
    """
    tasks = evidence.meta["tasks"]
    polarity = np.array(
        [
            tasks[name][1] if name in tasks and tasks[name][0] == task else 0
            for name in evidence.meta["classes"]
        ],
        dtype=float,
    )
    if not polarity.any():
        answered = sorted({answered for answered, _ in tasks.values()})
        raise IncompatibleError(
            f"the members answer {', '.join(answered) or 'no task'}, not {task}"
        )
    return polarity


def reduce_windows(evidence: MemberLogits, polarity: Floats, how: str) -> Floats:
    """Return logits (B, M, C) of one window for each text, or of their mean.

    `how` is worst, mean or first, as in `PoolOptions`.
    """
    logits = evidence["logits"].astype(np.float64)  # (W, M, C)
    offsets = evidence.offsets["W"]
    starts = offsets[:-1]
    if len(logits) == len(evidence):
        return logits
    if how == "first":
        return logits[starts]
    counts = np.diff(offsets)
    if how == "mean":
        total: Floats = np.add.reduceat(logits, starts, axis=0)
        return total / counts[:, None, None]
    p = formulas.harm_probability(logits, evidence.meta["link"], polarity)  # (W, M)
    text_of_window = np.repeat(np.arange(len(evidence)), counts)
    # Sorted by text, then by falling probability, each text starts with its worst.
    order = np.lexsort((-p.mean(axis=-1), text_of_window))
    return logits[order[starts]]


def _member_uncertainty(
    formula: Callable[[Floats], Floats], evidence: EvidenceBundle, context: Context
) -> Judgements:
    return _uncertainty(formula(_member_probabilities(evidence[MemberLogits], context)))


def _score(p: Floats, evidence: MemberLogits) -> Judgements:
    """Return the score; outputs that are no log-odds make no probability."""
    return Judgements(
        size=len(p),
        score=p,
        probability=evidence.meta.get("probability", True),
        note=evidence.meta.get("note", ""),
    )


def _uncertainty(value: Floats) -> Judgements:
    return Judgements(size=len(value), uncertainty=value, probability=False)


def _pooled_probability(evidence: MemberLogits, context: Context) -> Floats:
    """Return P(harm) at the mean logits, (B,)."""
    logits, polarity = _logits_and_polarity(evidence, context)
    pooled = logits.mean(axis=1)
    return formulas.harm_probability(pooled, evidence.meta["link"], polarity)


def _member_probabilities(evidence: MemberLogits, context: Context) -> Floats:
    """Return each member's P(harm), (B, M)."""
    logits, polarity = _logits_and_polarity(evidence, context)
    return formulas.harm_probability(logits, evidence.meta["link"], polarity)


def _logits_and_polarity(
    evidence: MemberLogits, context: Context
) -> tuple[Floats, Floats]:
    """Return logits (B, M, C) of the windows to read, and the classes' polarity."""
    options: PoolOptions = context.options or PoolOptions()
    polarity = task_polarities(evidence, context.task)
    return reduce_windows(evidence, polarity, options.windows), polarity
