"""Verdicts that were not read: which samples have none, and what stands in its place.

A ratio of two probabilities near zero is no judgement, so a sample whose guard hardly
ever writes a level of its grammar fails for every strategy that could be asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .bounds import LEAF, TreeBounds
from .tree import ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    from .grammar import Grammar

_LONGEST_QUOTE = 60  # characters of what a guard wrote that an error shows


def unread_verdicts(
    tree: VerdictTree, written: Sequence[str | None], floor: float
) -> list[str | None]:
    """Say of each sample why no verdict was read, None where one was, (B,).

    That is so where P(some level) is certainly below `floor`; where its bounds leave
    that open, the greedy text decides. `written` (B,) are the greedy texts, None where
    they are unknown.
    """
    bounds = tree.cached(TreeBounds)
    no_level = bounds.invalid_bounds
    lowest, highest = 1.0 - no_level.upper, 1.0 - no_level.lower
    greedy_level = tree["level"][bounds.greedy_end]
    unread = (highest < floor) | ((lowest < floor) & (greedy_level < 0))
    errors: list[str | None] = [None] * len(tree)
    for row in np.nonzero(unread)[0].tolist():
        if greedy_level[row] < 0:
            errors[row] = greedy_failure(bounds, row, written[row])
        else:
            text = written[row]
            likeliest = f"; the likeliest text is {_quoted(text)}" if text else ""
            # An upper bound: no more is known of what the tree left out.
            errors[row] = (
                f"P({_listed(bounds.automaton.grammar, ' or ')}) is at most "
                f"{highest[row]:.2g}, below verdict_floor={floor:g}{likeliest}"
            )
    return errors


def greedy_failures(
    bounds: TreeBounds, written: Sequence[str | None]
) -> list[str | None]:
    """Say of each sample why its greedy text holds no level, None where it does."""
    missing = bounds.tree["level"][bounds.greedy_end] < 0
    texts = [*written] or [None] * len(missing)
    return [
        greedy_failure(bounds, row, texts[row]) if missing[row] else None
        for row in range(len(missing))
    ]


def greedy_failure(bounds: TreeBounds, row: int, written: str | None) -> str:
    """Say that the greedy text of one sample holds no level: off grammar, or cut."""
    tree, grammar = bounds.tree, bounds.automaton.grammar
    levels = _listed(grammar, ", ")
    name = tree.meta.get("policy") or "its grammar"
    if written is None:
        return f"no level of {name} was written: {levels}"
    if tree["status"][bounds.greedy_end[row]] != ENDED:
        budget = tree.meta.get("D", "its")
        return (
            f"wrote {_quoted(written)} in {budget} tokens, and no level yet: {levels}"
        )
    if written == "":
        return f"wrote nothing in place of a level: {levels}"
    return f"wrote {_quoted(written)}, which is no level of {name}: {levels}"


def unread_labels(bounds: TreeBounds) -> Array:
    """Return P(a level that takes labels, and then text in which none was read), (B,).

    What is off the grammar may hold labels or not: ``unsafe``, a space and a line feed
    before ``S1``, for one. A verdict that just ends after the level has no labels.
    """
    tree, parts = bounds.tree, bounds.partition
    levels = bounds.automaton.grammar.levels
    takes = np.array([*(level.takes_labels for level in levels), False])
    token = tree["token"][parts.node]
    # Remainders have no token of their own; a likely end is a leaf, not part of them.
    is_leaf = parts.kind == LEAF
    ends = is_leaf & np.isin(token, tree.meta.get("eos", ()))
    unread = takes[parts.level] & ~parts.open & (parts.labels == 0) & ~ends
    if bounds.automaton.grammar.mode == "lenient":  # which reads any text
        unread[:] = False
    return bounds.sum_by_sample(parts.mass, unread)


def _listed(grammar: Grammar, joiner: str) -> str:
    return joiner.join(level.surface_form for level in grammar.levels)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "...")
