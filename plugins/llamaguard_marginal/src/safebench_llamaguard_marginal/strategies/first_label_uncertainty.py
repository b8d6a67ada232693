"""Uncertainty of the first label, given that the guard names one.

pi, in the formulas, is the distribution of labels at the first label position under the
greedy opener, made to sum to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.evidence import VerdictTree
from safebench.strategies import Judgements, LabelColumns, first_reason
from safebench.verdict_tree import LabelSlots

from .common import (
    INVALID,
    NO_OPENER,
    SETTLED,
    PositiveOptions,
    canonical_unavailable,
    divide_or_nan,
    entropy,
    mostly_invalid,
    nan_where,
    unlisted_labels_note,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array, Floats


def probability_uncertainty(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Uncertainty is 1 / (1 + max pi), from 1/2 for one certain label to 1.

    Score is P(a positive level is read); category l: that times pi of l.
    """
    return _judge(evidence, context, _label_improbability)


def entropy_uncertainty(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Uncertainty is the entropy of pi in nats; the rest as before."""
    return _judge(evidence, context, entropy)


def _judge(
    evidence: EvidenceBundle,
    context: Context,
    uncertainty_of: Callable[[Floats], Floats],
) -> Judgements:
    slots = evidence[VerdictTree].cached(LabelSlots)
    bounds, grammar = slots.bounds, slots.automaton.grammar
    columns = LabelColumns(grammar.label_codes, context.policy)
    if unavailable := canonical_unavailable(
        slots.tokenizations, context.task, columns.names
    ):
        return unavailable
    options = context.options or PositiveOptions()
    positive = grammar.positive_mask(context.task, options.positive)
    invalid = mostly_invalid(bounds, options)
    no_opener = slots.tokenizations.greedy_opener_node < 0
    failed = invalid | no_opener
    # The lower bound: pi comes from forced nodes and has no bounds to go with others.
    score = nan_where(bounds.level_bounds(positive).lower, failed)
    open_labels = _unsettled_shares(slots, positive)
    pi = nan_where(first_label_shares(slots, positive), open_labels)
    return Judgements(
        size=len(score),
        score=score,
        labels=columns.names,
        categories=columns.arrange(score[:, None] * pi),
        uncertainty=nan_where(uncertainty_of(pi), failed),
        errors=first_reason((invalid, INVALID), (no_opener, NO_OPENER)),
        category_note=unlisted_labels_note(open_labels),
    )


def _unsettled_shares(slots: LabelSlots, positive: Sequence[bool]) -> Array:
    """Tell where pi hangs on tokens that were not listed, (B,)."""
    first = slots.first_slot(positive)
    exists = np.nonzero(first >= 0)[0]
    total = np.ones(len(first))
    total[exists] = slots.label_given_slot[first[exists]].sum(axis=1)
    unsettled: Array = slots.unlisted.at_slots(first[exists]) > SETTLED * total
    return unsettled


def first_label_shares(slots: LabelSlots, positive: Sequence[bool]) -> Floats:
    """Return pi, (B, labels); NaN for a sample without a first label position."""
    first = slots.first_slot(positive)
    pi = np.full((len(first), slots.label_given_slot.shape[1]), np.nan)
    exists = first >= 0
    given = slots.label_given_slot[first[exists]]
    pi[exists] = divide_or_nan(given, given.sum(axis=1, keepdims=True))
    return pi


def _label_improbability(pi: Floats) -> Floats:
    if not pi.shape[1]:
        return np.full(len(pi), np.nan)
    uncertainty: Floats = 1.0 / (1.0 + pi.max(axis=1))
    return uncertainty
