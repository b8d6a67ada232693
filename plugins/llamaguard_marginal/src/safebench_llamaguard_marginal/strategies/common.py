"""Helpers of strategies on verdict trees: errors, missing values, entropies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from safebench.errors import OptionError
from safebench.strategies import Judgements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Array, Floats
    from safebench.verdict_tree import CanonicalTokenizations, TreeBounds

INVALID = "invalid"  # no level was read
NO_OPENER = "n/a: the greedy verdict does not start as the grammar does"
LENIENT_GRAMMAR = "n/a: a lenient grammar has no canonical spellings"
NOT_RECORDED = "n/a: canonical spellings were not recorded"
MOSTLY = 0.5  # the share of unread labels above which a sample is counted
NEGLIGIBLE = 0.01  # of probability: trees leave out as much
# An error of a probability that nobody would notice: as between two engines.
SETTLED = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictOptions:
    """`verdict_floor` is the probability of a verdict below which a sample fails.

    `combine` says what counts where a guard was asked about each criterion by itself:
    the largest score (``max``), or that of ``any``, as if they were independent.
    """

    verdict_floor: float = 0.5
    combine: Literal["max", "any"] = "max"

    def __post_init__(self) -> None:
        if not 0 <= self.verdict_floor <= 1:
            raise OptionError(
                f"verdict_floor={self.verdict_floor} is no probability in [0, 1]"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveOptions(VerdictOptions):
    """`positive` names the levels that count as positive (default: the grammar's)."""

    positive: tuple[str, ...] = ()


def nan_where(values: Array, failed: Array) -> Floats:
    """Return values (B, ...) with NaN where a sample has no judgement."""
    kept = values.astype(np.float64)
    kept[failed] = np.nan
    return kept


def mostly_invalid(bounds: TreeBounds, options: VerdictOptions) -> Array:
    """Tell of each sample whether P(some level) is certainly below the floor, (B,)."""
    mask: Array = bounds.invalid_bounds.lower > 1.0 - options.verdict_floor
    return mask


def mostly_unread_labels(bounds: TreeBounds) -> Array:
    """Tell of each sample whether its labels could mostly not be read, (B,).

    That is so if a verdict that takes labels and goes on off the grammar before the
    first one is likelier than one whose labels were read.
    """
    takes = [level.takes_labels for level in bounds.automaton.grammar.levels]
    unread, level = bounds.unread_labels, bounds.level_bounds(takes).lower
    mask: Array = (unread > MOSTLY * level) & (unread > NEGLIGIBLE)
    return mask


def unread_labels_note(bounds: TreeBounds) -> str:
    """Count the samples whose labels could mostly not be read; "" for none."""
    return count_unread_labels(mostly_unread_labels(bounds))


def count_unread_labels(unread: Array) -> str:
    """Count the samples (B,) whose labels could not be read; "" for none."""
    if not unread.any():
        return ""
    return (
        f"labels could not be read in {int(unread.sum())} of {len(unread)} samples: "
        "what follows the level is off the grammar"
    )


def label_bits(masks: Array, n_labels: int) -> Array:
    """Return which labels masks (n,) hold, (n, labels) bool."""
    bits = np.arange(n_labels, dtype=np.uint64)
    held: Array = (masks[:, None] >> bits & np.uint64(1)).astype(bool)
    return held


def label_upper(bounds: TreeBounds, upper: Floats) -> Floats:
    """Return upper bounds (B, labels), raised where labels could not be read.

    What is off the grammar may name any label, so that it may have all of that mass.
    """
    mass = np.where(mostly_unread_labels(bounds), bounds.unread_labels, 0.0)
    return np.minimum(upper + mass[:, None], 1.0)


def canonical_unavailable(
    tokenizations: CanonicalTokenizations, task: str, labels: Sequence[str] = ()
) -> Judgements | None:
    """Return judgements without values where no canonical spellings were recorded.

    They are those of levels: a `task` that a line after the labels answers has none.
    """
    grammar = tokenizations.automaton.grammar
    if grammar.answers(task):
        reason = f"n/a: {task} is answered after the labels; marginal_any reads it"
    elif not tokenizations.recorded:
        reason = LENIENT_GRAMMAR if grammar.mode == "lenient" else NOT_RECORDED
    else:
        return None
    size = len(tokenizations.tree)
    return Judgements(
        size=size,
        score=np.full(size, np.nan),
        labels=labels,
        categories=np.full((size, len(labels)), np.nan) if labels else None,
        uncertainty=np.full(size, np.nan),
        errors=[reason] * size,
    )


def unlisted_labels_note(unsettled: Array) -> str:
    """Count samples (B,) whose categories hang on tokens that were not listed."""
    if not unsettled.any():
        return ""
    return (
        f"categories of {int(unsettled.sum())} of {len(unsettled)} samples hang on "
        "tokens that were not listed; unlisted=ids or a larger top_logprobs would tell"
    )


def joined_notes(*notes: str) -> str:
    """Join those notes that are not empty."""
    return "; ".join(note for note in notes if note)


def entropy(p: Floats) -> Floats:
    """Return the entropy (nats) of distributions p (..., C); NaN where any is."""
    p = np.clip(p, 0.0, 1.0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    nats: Floats = -(p * logs).sum(axis=-1)
    return nats + 0.0  # turns -0.0 into 0.0


def append_none(p: Floats) -> Floats:
    """Append to p (B, C) the probability of none of them.

    Estimates between bounds may exceed 1 together; then they are scaled to sum to 1.
    """
    total = p.sum(axis=1, keepdims=True)
    none = np.clip(1.0 - total, 0.0, None)
    distribution: Floats = np.hstack([p, none]) / np.maximum(total, 1.0)
    return distribution


def divide_or_nan(part: Floats, whole: Floats) -> Floats:
    """Divide, NaN where the whole is 0 or NaN."""
    undefined = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    ratio: Floats = np.divide(part, whole, out=undefined, where=whole > 0)
    return ratio
