"""Verdicts that were not read: which samples have none, and what stands in its place.

A ratio of two probabilities near zero is no judgement, so a sample whose guard hardly
ever writes a level of its grammar fails for every strategy that could be asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .bounds import TreeBounds, answer_bits
from .tree import ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree

    from .grammar import Grammar

_MOST_LISTED = 6  # levels that an error names
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
    # P(some level) by way of its complement, which the tree bounds directly.
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


def unanswered_task(tree: VerdictTree, task: str, floor: float) -> list[str | None]:
    """Say of each sample why its verdict does not answer `task`, None if it does, (B,).

    A guard of several tasks may write that one of them does not apply (N/A). That is no
    negative answer: the sample fails where P(an answer) is certainly below `floor`, or
    where its bounds leave that open and the greedy verdict gives none.
    """
    bounds = tree.cached(TreeBounds)
    grammar = bounds.automaton.grammar
    answers, in_line = grammar.answers_mask(task), grammar.line_answers(task)
    errors: list[str | None] = [None] * len(tree)
    if all(answers) and not in_line:
        return errors
    greedy = tree["level"][bounds.greedy_end]
    if in_line:
        lowest, highest = bounds.answer_bounds(in_line)
        read = tree["labels_mask"][bounds.greedy_end]
        silent = (read & answer_bits(in_line) == 0) & (greedy >= 0)
    else:
        lowest, highest = bounds.level_bounds(answers)
        silent = ~np.array([*answers, True])[greedy]  # -1, no level, is said elsewhere
    unanswered = (highest < floor) | ((lowest < floor) & silent)
    for row in np.nonzero(unanswered)[0].tolist():
        level = grammar.levels[greedy[row]] if silent[row] else None
        wrote = f", it wrote {level.surface_form!r}" if level else ""
        errors[row] = (
            f"the verdict does not answer {task}{wrote}: P(an answer) is at most "
            f"{highest[row]:.2g}, and verdict_floor={floor:g}"
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
    policy = tree.meta.get("policy")
    # guards without categories have a policy without any, of that name
    name = policy if policy and policy != "none" else "its grammar"
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


def _listed(grammar: Grammar, joiner: str) -> str:
    """Name the levels, a few of those that are combinations of several answers."""
    texts = [level.surface_form for level in grammar.levels]
    if len(texts) <= _MOST_LISTED:
        return joiner.join(texts)
    shown = [_quoted(text) for text in texts[: _MOST_LISTED // 2]]
    return joiner.join([*shown, f"{len(texts) - len(shown)} more"])


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "...")
