"""Probabilities of whole texts: the greedy verdict, and up to each label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.engine.slots import Slots
from safebench.evidence import VerdictTree
from safebench.judgements import Judgements

from .reading import NO_OPENER, Columns, PositiveOptions, reasons, unspelled
from .token_probability import largest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.engine.spellings import Spellings
    from safebench.evidence.bundle import Bundle
    from safebench.judgements import Context

    Floats = np.ndarray[Any, np.dtype[np.float64]]


def judge(evidence: Bundle, context: Context) -> Judgements:
    """Score P(greedy verdict through its positive level), else of the canonical one.

    Category l: the largest, over label places of the greedy verdict, of P(verdict up to
    the place, then l, closed). Uncertainty is -log P(greedy verdict).
    """
    slots = evidence[VerdictTree].once(Slots)
    spellings, grammar = slots.spellings, slots.table.grammar
    columns = Columns(grammar, context.policy)
    if failed := unspelled(spellings, columns.names):
        return failed
    options = context.options or PositiveOptions()
    positive = grammar.positives(context.task, options.positive)
    places = slots.read(slots.first(positive))
    values = slots.mass[places, None] * slots.given[places]
    score = _score(spellings, positive)
    return Judgements(
        size=len(slots.tree),
        score=score,
        labels=columns.names,
        categories=columns.place(largest(slots, places, values)),
        uncertainty=-slots.cut.log_path[slots.cut.greedy] + 0.0,
        errors=reasons((np.isnan(score), NO_OPENER)),
    )


def _score(spellings: Spellings, positive: Sequence[bool]) -> Floats:
    """Return P(opener, positive level): the one that is said, else the likeliest.

    The one that is said has its probability even if no opener ends before it.
    """
    chosen, mass = np.array([*positive, False]), spellings.cut.mass
    odds = np.where(chosen[:-1], spellings.said_odds, 0.0).max(axis=1)
    opened, at = spellings.opened_at, spellings.said_at
    forced = np.where(opened >= 0, mass[opened] * odds, np.nan)
    score: Floats = np.where(chosen[spellings.said] & (at >= 0), mass[at], forced)
    return score
