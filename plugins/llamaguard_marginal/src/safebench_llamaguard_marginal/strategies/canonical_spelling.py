"""Strategies on canonical spellings: verdicts in the tokens that the tokenizer uses.

`first_token` compares levels where a verdict begins; `token_probability` and `joint`
follow the greedy verdict, as conditional and as joint probabilities; `marginal_slot1`
sums over openers up to the first label. Their nodes were forced into the recorded tree,
so the values are exact and have no bounds to choose between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safebench.evidence import VerdictTree
from safebench.strategies import Judgements, LabelColumns, first_reason
from safebench.verdict_tree import LabelSlots

from .common import (
    NO_OPENER,
    SETTLED,
    PositiveOptions,
    append_none,
    canonical_unavailable,
    divide_or_nan,
    entropy,
    joined_notes,
    nan_where,
    unlisted_labels_note,
    unread_labels_note,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array, Floats
    from safebench.verdict_tree import CanonicalTokenizations

NO_LEVEL = "n/a: no level can follow a likely opener"


def first_token(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score the mass of positive levels over that of all levels.

    Summed over every canonical opener that is likely enough or on the greedy path; what
    else the guard might write does not count. Uncertainty is the entropy over levels,
    in nats.
    """
    slots = evidence[VerdictTree].cached(LabelSlots)
    tokenizations = slots.tokenizations
    if unavailable := canonical_unavailable(tokenizations, context.task):
        return unavailable
    options = context.options or PositiveOptions()
    positive = tokenizations.automaton.grammar.positive_mask(
        context.task, options.positive
    )
    # Renormalised over levels: mass of other texts would make every score small.
    shares = level_shares(tokenizations)
    unsettled = unsettled_shares(slots)
    score = nan_where(positive_share(shares, positive), unsettled)
    return Judgements(
        size=len(shares),
        score=score,
        uncertainty=nan_where(entropy(shares), unsettled),
        errors=first_reason(
            (unsettled, slots.unlisted.reason()), (np.isnan(score), NO_LEVEL)
        ),
    )


def unsettled_shares(slots: LabelSlots) -> Array:
    """Tell where the shares of levels hang on tokens that were not listed, (B,)."""
    total = slots.tokenizations.level_probability.sum(axis=1)
    unsettled: Array = slots.unlisted.levels > SETTLED * total
    return unsettled


def level_shares(tokenizations: CanonicalTokenizations) -> Floats:
    """Return each level's share of the mass of all levels, (B, levels)."""
    masses = tokenizations.level_probability
    return divide_or_nan(masses, masses.sum(axis=1, keepdims=True))


def positive_share(shares: Floats, positive: Sequence[bool]) -> Floats:
    """Return the share of positive levels, (B,)."""
    share: Floats = shares[:, np.array(positive, dtype=bool)].sum(axis=1)
    return share + 0.0 * shares[:, 0]  # NaN where unknown, even if none is positive


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProbabilityOptions(PositiveOptions):
    """How many label positions are read, and what counts as positive.

    `max_k`: a category is the largest of its probabilities at the first `max_k` label
    positions of the greedy verdict. `positive` names the positive levels (default: the
    grammar's).
    """

    max_k: int = 1

    def __post_init__(self) -> None:
        PositiveOptions.__post_init__(self)
        if self.max_k < 1:
            raise ValueError(f"max_k is {self.max_k}, not 1 or more")


def token_probability(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score P(positive level | the greedy verdict's opener), all tokens of the level.

    Category l: P(l, closed | the greedy verdict up to a label position); the first is
    that of the canonical spelling if the greedy verdict takes no labels. Uncertainty is
    1 - P(the greedy level | the opener).
    """
    slots = evidence[VerdictTree].cached(LabelSlots)
    tokenizations, grammar = slots.tokenizations, slots.automaton.grammar
    columns = LabelColumns(grammar.label_codes, context.policy)
    if unavailable := canonical_unavailable(tokenizations, context.task, columns.names):
        return unavailable
    options = context.options or TokenProbabilityOptions()
    positive = grammar.positive_mask(context.task, options.positive)
    level_given_opener = tokenizations.level_given_greedy_opener  # (B, levels)
    scored = slots.scored_slots(slots.first_slot(positive))
    scored = scored[slots.labels_before[scored] < options.max_k]
    labels = largest_per_sample(slots, scored, slots.label_given_slot[scored])
    unsettled = slots.unlisted.levels_given_opener > SETTLED
    open_labels = slots.unlisted.at_slots(scored) > SETTLED
    score = level_given_opener @ np.array(positive, dtype=np.float64)
    return Judgements(
        size=len(level_given_opener),
        score=nan_where(score, unsettled),
        labels=columns.names,
        categories=columns.arrange(nan_where(labels, unsettled | open_labels)),
        uncertainty=1.0 - np.exp(tokenizations.greedy_level_logp),
        category_note=unlisted_labels_note(open_labels),
        errors=first_reason(
            (tokenizations.greedy_opener_node < 0, NO_OPENER),
            (unsettled, slots.unlisted.reason()),
        ),
    )


def largest_per_sample(slots: LabelSlots, scored: Array, values: Floats) -> Floats:
    """Return the largest of values (S, labels) over each sample's slots, (B, labels).

    `scored` (S,) are slots. NaN for a sample without one.
    """
    largest = np.full((len(slots.tree), values.shape[1]), -np.inf)
    np.maximum.at(largest, slots.sample[scored], values)
    largest[np.isneginf(largest)] = np.nan
    return largest


def joint(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score P(greedy verdict up to its positive level), else of the canonical one.

    Category l: the largest, over label positions of the greedy verdict, of P(verdict up
    to there, then l, closed). Uncertainty is -log P(greedy verdict).
    """
    slots = evidence[VerdictTree].cached(LabelSlots)
    tokenizations, grammar = slots.tokenizations, slots.automaton.grammar
    columns = LabelColumns(grammar.label_codes, context.policy)
    if unavailable := canonical_unavailable(tokenizations, context.task, columns.names):
        return unavailable
    options = context.options or PositiveOptions()
    positive = grammar.positive_mask(context.task, options.positive)
    scored = slots.scored_slots(slots.first_slot(positive))
    values = slots.mass[scored, None] * slots.label_given_slot[scored]
    categories = largest_per_sample(slots, scored, values)
    unsettled = slots.unlisted.levels_given_opener > SETTLED
    open_labels = slots.unlisted.at_slots(scored) > SETTLED
    score = nan_where(_joint_score(tokenizations, positive), unsettled)
    return Judgements(
        size=len(slots.tree),
        score=score,
        labels=columns.names,
        categories=columns.arrange(nan_where(categories, unsettled | open_labels)),
        uncertainty=-slots.bounds.path_logp[slots.bounds.greedy_end] + 0.0,
        category_note=joined_notes(
            unread_labels_note(slots.bounds), unlisted_labels_note(open_labels)
        ),
        errors=first_reason(
            (unsettled, slots.unlisted.reason()), (np.isnan(score), NO_OPENER)
        ),
    )


def _joint_score(
    tokenizations: CanonicalTokenizations, positive: Sequence[bool]
) -> Floats:
    """Return P(opener, positive level): the level that is written, else the likeliest.

    A positive level on the greedy path has its probability there, even if no opener
    ends before it.
    """
    mask, mass = np.array([*positive, False]), tokenizations.bounds.mass
    given_opener = tokenizations.level_given_greedy_opener
    likeliest = np.where(mask[:-1], given_opener, 0.0).max(axis=1)
    opener, level = tokenizations.greedy_opener_node, tokenizations.greedy_level_node
    forced = np.where(opener >= 0, mass[opener] * likeliest, np.nan)
    written = mask[tokenizations.greedy_level] & (level >= 0)
    own = mass[level] * tokenizations.own_share[level]
    score: Floats = np.where(written, own, forced)
    return score


def marginal_slot1(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Score as `first_token`; category l: P(canonical opener, level, intro, then l).

    Other spellings are left out, so that a category's value is a lower bound of the
    probability that the verdict names it first. Uncertainty is the entropy (nats) of
    the first label, none included.
    """
    slots = evidence[VerdictTree].cached(LabelSlots)
    tokenizations, grammar = slots.tokenizations, slots.automaton.grammar
    columns = LabelColumns(grammar.label_codes, context.policy)
    if unavailable := canonical_unavailable(tokenizations, context.task, columns.names):
        return unavailable
    options = context.options or PositiveOptions()
    positive = grammar.positive_mask(context.task, options.positive)
    unsettled = unsettled_shares(slots)
    open_labels = slots.unlisted.first_labels > SETTLED
    score = nan_where(positive_share(level_shares(tokenizations), positive), unsettled)
    # A lower bound alone: other spellings of the same label only add to it.
    first = nan_where(_first_label_probability(slots), unsettled | open_labels)
    categories = columns.arrange(first)
    return Judgements(
        size=len(score),
        score=score,
        labels=columns.names,
        categories=categories,
        category_lower=categories,
        uncertainty=entropy(append_none(first)),
        category_note=joined_notes(
            unread_labels_note(slots.bounds), unlisted_labels_note(open_labels)
        ),
        errors=first_reason(
            (unsettled, slots.unlisted.reason()), (np.isnan(score), NO_LEVEL)
        ),
    )


def _first_label_probability(slots: LabelSlots) -> Floats:
    """Sum P(slot) P(label | slot) over canonical first slots, (B, labels).

    NaN for a sample without such a slot, if labels could be read at all.
    """
    first = np.nonzero(slots.canonical)[0]
    sample = slots.sample[first]
    total = np.zeros((len(slots.tree), slots.label_given_slot.shape[1]))
    np.add.at(total, sample, slots.mass[first, None] * slots.label_given_slot[first])
    total[np.bincount(sample, minlength=len(total)) == 0] = np.nan
    return total
