"""The strategies on `MemberLogits`: what each makes of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import IncompatibleError
from safebench.evidence import MemberLogits
from safebench.judgements import Judgements

from . import pooling
from .options import PoolOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.evidence.bundle import Bundle
    from safebench.judgements import Context

    Floats = np.ndarray[Any, np.dtype[np.float64]]


def mean_logits(evidence: Bundle, context: Context) -> Judgements:
    """Score by the probability of harm at the members' mean logits."""
    return _score(_pooled(evidence[MemberLogits], context))


def mean_probs(evidence: Bundle, context: Context) -> Judgements:
    """Score by the mean of the members' probabilities of harm."""
    return _score(_members(evidence[MemberLogits], context).mean(axis=-1))


def logit_mean_entropy(evidence: Bundle, context: Context) -> Judgements:
    """Be as unsure as the pooled logits are: blind to members that disagree."""
    return _unsure(pooling.entropy(_pooled(evidence[MemberLogits], context)))


def predictive_entropy(evidence: Bundle, context: Context) -> Judgements:
    """Be as unsure as the mean probability is: noise and disagreement together."""
    return _of_members(pooling.predictive_entropy, evidence, context)


def expected_entropy(evidence: Bundle, context: Context) -> Judgements:
    """Be as unsure as the members are on average: noise alone."""
    return _of_members(pooling.expected_entropy, evidence, context)


def mutual_information(evidence: Bundle, context: Context) -> Judgements:
    """Be as unsure as the members disagree, in nats."""
    return _of_members(pooling.mutual_information, evidence, context)


def vote_entropy(evidence: Bundle, context: Context) -> Judgements:
    """Be as unsure as the members' decisions are split."""
    return _of_members(pooling.vote_entropy, evidence, context)


def variation_ratio(evidence: Bundle, context: Context) -> Judgements:
    """Be as unsure as the minority of the members' decisions is large."""
    return _of_members(pooling.variation_ratio, evidence, context)


def member_std(evidence: Bundle, context: Context) -> Judgements:
    """Be as unsure as the members' probabilities spread."""
    return _of_members(pooling.member_std, evidence, context)


def _of_members(
    formula: Callable[[Floats], Floats], evidence: Bundle, context: Context
) -> Judgements:
    return _unsure(formula(_members(evidence[MemberLogits], context)))


def _score(p: Floats) -> Judgements:
    return Judgements(size=len(p), score=p)


def _unsure(value: Floats) -> Judgements:
    return Judgements(size=len(value), uncertainty=value, probability=False)


def _pooled(batch: MemberLogits, context: Context) -> Floats:
    """Return P(harm) at the mean logits, (B,)."""
    polarity = polarities(batch, context.task)
    logits = one_window(batch, polarity, _windows(context))
    return pooling.harm(logits.mean(axis=1), batch.meta["link"], polarity)


def _members(batch: MemberLogits, context: Context) -> Floats:
    """Return each member's P(harm), (B, M)."""
    polarity = polarities(batch, context.task)
    logits = one_window(batch, polarity, _windows(context))
    return pooling.harm(logits, batch.meta["link"], polarity)


def _windows(context: Context) -> str:
    options: PoolOptions = context.options or PoolOptions()
    return options.windows


def polarities(batch: MemberLogits, task: str) -> Floats:
    """Return 1, -1 or 0 for each class, by what it says about the task; (C,)."""
    tasks = batch.meta["tasks"]
    found = np.array(
        [
            tasks[name][1] if name in tasks and tasks[name][0] == task else 0
            for name in batch.meta["classes"]
        ],
        dtype=float,
    )
    if not found.any():
        known = sorted({answered for answered, _ in tasks.values()})
        raise IncompatibleError(
            f"the members answer {', '.join(known) or 'no task'}, not {task}"
        )
    return found


def one_window(batch: MemberLogits, polarity: Floats, how: str) -> Floats:
    """Return logits (B, M, C) of one window for each text, or of their mean."""
    logits = batch["logits"].astype(np.float64)  # (W, M, C)
    offsets = batch.offsets["W"]
    starts = offsets[:-1]
    if len(logits) == len(batch):
        return logits
    if how == "first":
        return logits[starts]
    counts = np.diff(offsets)
    if how == "mean":
        total: Floats = np.add.reduceat(logits, starts, axis=0)
        return total / counts[:, None, None]
    p = pooling.harm(logits, batch.meta["link"], polarity).mean(axis=-1)  # (W,)
    owner = np.repeat(np.arange(len(batch)), counts)
    order = np.lexsort((-p, owner))  # the worst window of each text comes first
    return logits[order[starts]]
