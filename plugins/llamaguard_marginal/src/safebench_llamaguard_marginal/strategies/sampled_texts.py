"""Shares of sampled verdicts: what a server without log-probabilities can be asked for.

Of k samples at temperature 1 the share that says unsafe is an unbiased estimate of
P(unsafe), which `marginal_any` bounds: it has k + 1 values, and a standard error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from safebench.strategies import Judgements, LabelColumns
from safebench.verdict_tree import Grammar
from safebench_llamaguard_marginal.texts.evidence import FILTER, LENGTH, VerdictTexts
from safebench_llamaguard_marginal.texts.verdicts import answer_rows

from .common import (
    PositiveOptions,
    entropy,
    joined_notes,
    label_bits,
)

if TYPE_CHECKING:
    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array, Floats

_Z = 1.959963984540054  # of the normal distribution: 95 % on both sides
_ENOUGH_TO_TELL = 8  # samples that would hardly all agree in each of so many prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledTextsOptions(PositiveOptions):
    """Whether a share of k samples has bounds.

    None does by itself: more samples could change it. `bounds` ``wilson`` gives the
    95 % interval of the probability that it estimates (Wilson 1927), of each prompt by
    itself; an answer that was cut off before it said anything may be either there.
    """

    bounds: Literal["none", "wilson"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfConsistencyOptions(SampledTextsOptions):
    """`uncertainty` is of the votes for and against unsafe.

    Their ``entropy`` in nats, or ``variation_ratio``, the share that the majority does
    not have.
    """

    uncertainty: Literal["entropy", "variation_ratio"] = "entropy"


@dataclass(frozen=True, slots=True)
class VoteShares:
    """Shares of k sampled answers, (B,) and (B, labels), with bounds.

    `lower` is the share itself: answers that were cut off, which may say anything, are
    in `upper` alone. `total` (B,) is k, 0 for a sample without answers.
    """

    total: Array
    lower: Floats
    upper: Floats
    categories: Floats
    categories_upper: Floats


def self_consistency(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score the share of k sampled verdicts that are positive; categories likewise.

    A verdict counts once, however often it names a category; one in which no level was
    read is not positive. Uncertainty is the entropy of the vote (Wang et al. 2023,
    arXiv 2203.11171, take its majority: a score of 0.5 or more).
    """
    options = context.options or SelfConsistencyOptions()
    texts = evidence[VerdictTexts]
    p = vote_shares(texts, context, options).lower
    if options.uncertainty == "variation_ratio":
        unsure = np.minimum(p, 1.0 - p)
    else:
        unsure = entropy(np.stack([p, 1.0 - p], axis=-1))
    return _judge(texts, context, options, unsure)


def sampled_verdict_entropy(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Uncertainty is the entropy of what k sampled verdicts mean, in nats.

    An outcome is a level with its set of labels; verdicts without a level are one. The
    discrete semantic entropy of Farquhar et al. (2024, 10.1038/s41586-024-07421-0)
    where the grammar says which texts mean the same; at most log k. Score and
    categories as `self_consistency`.
    """
    options = context.options or SampledTextsOptions()
    texts = evidence[VerdictTexts]
    return _judge(texts, context, options, outcome_entropies(texts))


def vote_shares(
    texts: VerdictTexts, context: Context, options: SampledTextsOptions
) -> VoteShares:
    """Return the shares of the sampled answers that are positive, or name a label.

    Answers that were cut, or that a filter replaced, may be either in the upper shares.
    """
    grammar = Grammar.from_json(texts.meta["grammar"])
    row, sampled = answer_rows(texts)
    level, size = texts["level"], len(texts)
    positive = np.array([*grammar.positive_mask(context.task, options.positive), False])
    has_label = label_bits(texts["labels_mask"], len(grammar.all_labels))
    answers = [*grammar.answers(context.task, options.positive)]
    is_positive = positive[level] | has_label[:, answers].any(axis=1)
    cut = texts["finish"] == LENGTH
    # the level of a verdict that was cut is read, what was to follow is not
    # and of one that a filter of the service replaced nothing is known
    filtered = (texts["finish"] == FILTER) & (level < 0)
    may = is_positive | (cut & ((level < 0) | bool(answers))) | filtered
    own = [*grammar.categories(context.task).values()]
    total = np.bincount(row, sampled, size)

    def share(counted: Array) -> Floats:
        shares: Floats = np.full(size, np.nan)
        counts = np.bincount(row, sampled & counted, size)
        np.divide(counts, total, out=shares, where=total > 0)
        return shares

    def by_label(columns: Array) -> Floats:
        shares = [share(columns[:, i]) for i in own]
        return np.stack(shares, axis=1) if shares else np.empty((size, 0))

    return VoteShares(
        total.astype(np.int64),
        share(is_positive),
        share(may),
        by_label(has_label),
        by_label(has_label | (cut | filtered)[:, None]),
    )


def outcome_entropies(texts: VerdictTexts) -> Floats:
    """Return the entropy of the outcomes of the sampled answers, (B,), in nats."""
    row, sampled = answer_rows(texts)
    row, level = row[sampled], texts["level"][sampled].astype(np.int64)
    labels = np.where(level < 0, np.uint64(0), texts["labels_mask"][sampled])
    outcomes, counts = np.unique(
        np.stack([row, level, labels.astype(np.int64)]), axis=1, return_counts=True
    )
    of_outcome = outcomes[0]
    total = np.bincount(of_outcome, counts, len(texts))
    p = counts / total[of_outcome]
    nats = np.bincount(of_outcome, -p * np.log(p), len(texts)) + 0.0
    return np.where(total > 0, nats, np.nan)


def wilson_interval(
    share: Floats, total: Array, upper: Floats
) -> tuple[Floats, Floats]:
    """Return the 95 % interval of a probability, by Wilson's score (1927).

    Its lower end is that of `share` of `total`, its upper end that of `upper`.
    """
    n = np.maximum(total, 1).astype(np.float64)

    def end(p: Floats, sign: float) -> Floats:
        middle = p + _Z**2 / (2 * n)
        reach = _Z * np.sqrt(p * (1.0 - p) / n + _Z**2 / (4 * n**2))
        value: Floats = np.clip((middle + sign * reach) / (1.0 + _Z**2 / n), 0.0, 1.0)
        return value

    return end(share, -1.0), end(upper, 1.0)


def _judge(
    texts: VerdictTexts, context: Context, options: SampledTextsOptions, unsure: Floats
) -> Judgements:
    shares = vote_shares(texts, context, options)
    grammar = Grammar.from_json(texts.meta["grammar"])
    columns = LabelColumns([*grammar.categories(context.task)], context.policy)
    ends: tuple[Floats | None, Floats | None] = (None, None)
    label_ends = ends
    if options.bounds == "wilson":
        ends = wilson_interval(shares.lower, shares.total, shares.upper)
        label_ends = wilson_interval(
            shares.categories, shares.total[:, None], shares.categories_upper
        )
    return Judgements(
        size=len(texts),
        score=shares.lower,
        lower=ends[0],
        upper=ends[1],
        labels=columns.names,
        categories=columns.arrange(shares.categories),
        category_lower=_arranged(columns, label_ends[0]),
        category_upper=_arranged(columns, label_ends[1]),
        uncertainty=unsure,
        note=_note(texts, options),
    )


def _arranged(columns: LabelColumns, values: Floats | None) -> Floats | None:
    return None if values is None else columns.arrange(values)


def _note(texts: VerdictTexts, options: SampledTextsOptions) -> str:
    """Say how coarse the scores are, and what of the samples is not as it should be."""
    k, temperature = texts.meta["samples"], texts.meta["temperature"]
    coarse = (
        f"score of {k + 1} values: the share of {k} samples, with a standard error of "
        f"up to {0.5 / k**0.5:.2g}"
    )
    other = (
        f"sampled at temperature {temperature:g}: shares are not those of the model's "
        "own distribution"
        if temperature != 1
        else ""
    )
    wilson = (
        "bounds are those of 95 % intervals of each prompt, which one in 20 misses"
        if options.bounds == "wilson"
        else ""
    )
    return joined_notes(
        coarse, other, wilson, _unread(texts), _goes_on(texts), _one_answer(texts)
    )


def _unread(texts: VerdictTexts) -> str:
    """Count the sampled answers without a level, which count as not positive."""
    sampled = texts["sample"] > 0
    count = int((sampled & (texts["level"] < 0)).sum())
    if not count:
        return ""
    return (
        f"{count} of {int(sampled.sum())} sampled answers hold no level, and count as "
        "not positive"
    )


def _goes_on(texts: VerdictTexts) -> str:
    """Count the sampled verdicts that other text follows: it may deny them."""
    sampled = texts["sample"] > 0
    count = int((sampled & texts["malformed"]).sum())
    if not count:
        return ""
    return (
        f"{count} of {int(sampled.sum())} sampled verdicts are followed by text off "
        "the grammar, which is not read"
    )


def _one_answer(texts: VerdictTexts) -> str:
    """Notice a server that gives the same answer each time."""
    several = [own[1:] for own in texts.texts() if own]
    same = all(len(set(own)) <= 1 for own in several)
    if texts.meta["samples"] < 2 or len(several) < _ENOUGH_TO_TELL or not same:  # noqa: PLR2004
        return ""
    return (
        "all samples of each prompt are equal: the server may ignore the temperature, "
        "or give stored answers again"
    )
