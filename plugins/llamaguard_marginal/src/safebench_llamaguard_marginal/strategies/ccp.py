"""Claim-conditioned probability (CCP; Fadeeva et al., 2024) of the greedy verdict.

Each level or label is compared with the others that could stand in its position, so
that uncertainty about whether there is a label at all does not count. Where the paper
groups words by entailment, alternatives here are the levels, or the labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.evidence import VerdictTree
from safebench.strategies import Judgements, first_reason
from safebench.verdict_tree import LabelSlots, greedy_failures

from .common import NO_OPENER, SETTLED, canonical_unavailable

if TYPE_CHECKING:
    from safebench.evidence import EvidenceBundle
    from safebench.strategies import Context
    from safebench.typing import Array, Floats
    from safebench.verdict_tree import CanonicalTokenizations

STARTS_INSIDE = "n/a: a label of the greedy verdict starts inside a token"


def ccp(evidence: EvidenceBundle, context: Context) -> Judgements:
    """Return -log P(level and labels | some level and labels in their positions).

    Summed over the level and every label that the greedy verdict has, each among all
    levels or labels in its position. The one that is written counts in the tokens in
    which it is written, the others in their canonical ones.
    """
    slots = evidence[VerdictTree].cached(LabelSlots)
    tokenizations = slots.tokenizations
    if unavailable := canonical_unavailable(tokenizations, context.task):
        unavailable.score = None  # this strategy never has one
        return unavailable
    labels, starts_inside = _label_terms(slots)
    no_opener = tokenizations.greedy_opener_node < 0
    causes = first_reason(
        (no_opener, NO_OPENER),
        (starts_inside, STARTS_INSIDE),
        (_unsettled(slots), slots.unlisted.reason()),
    )
    failures = greedy_failures(slots.bounds, context.written)
    errors = [a or b for a, b in zip(failures, causes, strict=True)]
    value = _level_terms(tokenizations) + labels
    value[[error is not None for error in errors]] = np.nan
    return Judgements(size=len(value), uncertainty=value, errors=errors)


def _unsettled(slots: LabelSlots) -> Array:
    """Tell where the value hangs on tokens that were not listed, (B,)."""
    unlisted = slots.unlisted
    greedy = np.nonzero(slots.on_greedy_path)[0]
    unsettled: Array = (
        (unlisted.levels_given_opener > SETTLED)
        | (unlisted.at_slots(greedy) > SETTLED)
        | (unlisted.closing_greedy_labels > SETTLED)
    )
    return unsettled


def _level_terms(tokenizations: CanonicalTokenizations) -> Floats:
    """Return -log of the share of the greedy level, (B,); NaN without one."""
    logp = tokenizations.greedy_level_logp
    all_levels = tokenizations.level_given_greedy_opener.sum(axis=1)
    terms: Floats = np.log(np.where(np.isnan(logp), 1.0, all_levels)) - logp
    return terms


def _label_terms(slots: LabelSlots) -> tuple[Floats, Array]:
    """Sum -log of the shares of the greedy labels, (B,).

    Also returns which samples have a label without a slot: it starts inside a token.
    """
    tree, bounds = slots.tree, slots.bounds
    on_path = slots.tokenizations.on_greedy_path
    category = slots.automaton.as_category(tree["label"])
    node = np.nonzero(on_path & (category >= 0))[0]  # each closes a label
    sample, label = bounds.sample[node], tree["label"][node].astype(np.int64)
    labels_before = tree["slot"][node].astype(np.int64) - 1
    slot = _greedy_slots(slots, sample, labels_before)
    starts_inside = np.bincount(sample[slot < 0], minlength=len(tree)) > 0
    node, sample, label, slot = (x[slot >= 0] for x in (node, sample, label, slot))
    logp = _log_label_given_slot(slots, node, label, slot)
    # The written spelling replaces the canonical one among the alternatives.
    masses = slots.label_given_slot[slot]
    masses[np.arange(len(slot)), label] = np.exp(logp)
    terms = np.log(masses.sum(axis=1)) - logp
    return np.bincount(sample, terms, len(tree)).astype(np.float64), starts_inside


def _greedy_slots(slots: LabelSlots, sample: Array, labels_before: Array) -> Array:
    """Return the greedy slot of each (sample, labels before it), -1 without one."""
    greedy = np.nonzero(slots.on_greedy_path)[0]
    width = 1 + int(slots.tree["slot"].max(initial=0))
    table = np.full(len(slots.tree) * width, -1)
    table[slots.sample[greedy] * width + slots.labels_before[greedy]] = greedy
    slot: Array = table[sample * width + labels_before]
    return slot


def _log_label_given_slot(
    slots: LabelSlots, node: Array, label: Array, slot: Array
) -> Floats:
    """Return log P(label as it is written, closed | slot); `node` closes the label.

    A label that was complete before the closing token may be closed by any other too.
    """
    logp, before = slots.bounds.path_logp, slots.tokenizations.parent_node[node]
    complete = slots.automaton.stop_label[slots.tree["state"][before]] == label
    closing = np.where(complete, slots.closing_probability[before], 1.0)
    closed_by_any = logp[before] + np.log(closing)
    closed = np.where(complete, closed_by_any, logp[node])
    given: Floats = closed - logp[slots.nodes[slot]]
    return given
