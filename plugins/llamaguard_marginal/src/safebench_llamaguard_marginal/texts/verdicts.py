"""The written verdict of trees and of texts, and why a text holds none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from safebench.verdict_tree import Grammar, TreeBounds, greedy_failures
from safebench_llamaguard_marginal.strategies.common import mostly_unread_labels

from .evidence import LENGTH, GreedyVerdict, VerdictTexts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array, Floats

_LONGEST_QUOTE = 60  # characters of an answer that an error shows
_MOST_LISTED = 6  # levels that an error names


def verdict_of_tree(tree: VerdictTree) -> GreedyVerdict:
    """Return the greedy verdict of each tree."""
    bounds = tree.cached(TreeBounds)
    end = bounds.greedy_end
    verdict = GreedyVerdict(
        {
            "level": tree["level"][end],
            "labels_mask": tree["labels_mask"][end],
            "unread_labels": mostly_unread_labels(bounds),
            "p": bounds.mass[end],
        },
        meta={"grammar": tree.meta["grammar"]},
        size=len(tree),
    )
    verdict.failures = partial(greedy_failures, bounds)
    return verdict


def verdict_of_text(texts: VerdictTexts) -> GreedyVerdict:
    """Return the verdict of each greedy answer."""
    rows = texts.greedy_rows
    level = _at(texts["level"], rows, -1)
    grammar = Grammar.from_json(texts.meta["grammar"])
    takes = np.array([*(lv.takes_labels for lv in grammar.levels), False])
    labels = _at(texts["labels_mask"], rows, 0)
    own = np.uint64((1 << len(grammar.labels)) - 1)
    goes_on = _at(texts["malformed"], rows, fill=False)
    verdict = GreedyVerdict(
        {
            "level": level,
            "labels_mask": labels,
            "unread_labels": takes[level] & (labels & own == 0) & goes_on,
            "goes_on": goes_on,
        },
        meta={"grammar": texts.meta["grammar"]},
        size=len(texts),
    )
    verdict.failures = partial(_greedy_failures, texts)
    return verdict


def level_shares(texts: VerdictTexts) -> tuple[Floats, Floats]:
    """Return which share of a sample's answers has a level, surely and at most, (B,).

    Of the sampled answers, or of the greedy one where there are no others. An answer
    that was cut before its level may have any.
    """
    row, counted = answer_rows(texts)
    has_level = texts["level"] >= 0
    may = has_level | (texts["finish"] == LENGTH)
    total = np.maximum(np.bincount(row, counted, len(texts)), 1)
    lower, upper = (
        np.bincount(row, counted & x, len(texts)) / total for x in (has_level, may)
    )
    return lower, upper


def answer_rows(texts: VerdictTexts) -> tuple[Array, Array]:
    """Return the sample of each answer, (A,), and whether it is a sampled one.

    Where nothing was sampled, the greedy answers are marked.
    """
    counts = np.diff(texts.offsets["A"])
    row = np.repeat(np.arange(len(texts)), counts)
    sampled = texts["sample"] > 0 if "sample" in texts else np.ones(len(row), bool)
    return row, sampled


def unread_texts(
    texts: VerdictTexts, _: Sequence[str | None], floor: float
) -> list[str | None]:
    """Say of each sample why no verdict was read, None where one was, (B,).

    That is so where fewer than `floor` of the sampled answers can have a level, or
    where no answers were sampled and the greedy one has none.
    """
    lower, upper = level_shares(texts)
    greedy = _at(texts["level"], texts.greedy_rows, -1)
    unread = (upper < floor) | ((lower < floor) & (greedy < 0))
    if "sample" not in texts:
        unread = greedy < 0
    grammar = Grammar.from_json(texts.meta["grammar"])
    failures = _greedy_failures(texts, ())
    reasons: list[str | None] = [None] * len(texts)
    for row in np.flatnonzero(unread).tolist():
        reasons[row] = failures[row] or (
            f"{upper[row]:.0%} of {texts.meta['samples']} sampled answers have a level "
            f"({_listed(grammar)}), below verdict_floor={floor:g}"
        )
    return reasons


def unanswered_texts(texts: VerdictTexts, task: str, floor: float) -> list[str | None]:
    """Say of each sample why its verdicts do not answer `task`, None if so, (B,)."""
    grammar = Grammar.from_json(texts.meta["grammar"])
    answers, in_line = grammar.answers_mask(task), grammar.line_answers(task)
    reasons: list[str | None] = [None] * len(texts)
    if all(answers) and not in_line:
        return reasons
    answered = answers_task(texts, grammar, task)
    row, counted = answer_rows(texts)
    may = answered | ((texts["finish"] == LENGTH) & (texts["level"] < 0))
    if in_line:
        may |= texts["finish"] == LENGTH
    total = np.maximum(np.bincount(row, counted, len(texts)), 1)
    upper = np.bincount(row, counted & may, len(texts)) / total
    written = texts.texts()
    for i in np.flatnonzero(upper < max(floor, np.finfo(float).tiny)).tolist():
        if written[i]:
            reasons[i] = (
                f"the verdict does not answer {task}, it wrote {_quoted(written[i][0])}"
            )
    return reasons


def answers_task(texts: VerdictTexts, grammar: Grammar, task: str) -> Array:
    """Tell of each answer whether it says something about `task`, (A,)."""
    in_line = grammar.line_answers(task)
    if in_line:
        bits = np.uint64(sum(1 << label for label in in_line))
        return np.asarray(texts["labels_mask"] & bits != 0)
    known = np.array([*grammar.answers_mask(task), False])
    return np.asarray(known[texts["level"]])


def _greedy_failures(texts: VerdictTexts, _: Sequence[str | None]) -> list[str | None]:
    """Say of each sample why its greedy answer holds no level, None where it does."""
    grammar = Grammar.from_json(texts.meta["grammar"])
    rows = texts.greedy_rows
    level = _at(texts["level"], rows, -1)
    finish = _at(texts["finish"], rows, 0)
    written = texts.texts()
    reasons: list[str | None] = [None] * len(texts)
    for row in np.flatnonzero(level < 0).tolist():
        if rows[row] < 0:
            reasons[row] = "nothing was written"
            continue
        text = written[row][0]
        if finish[row] == LENGTH:
            reasons[row] = (
                f"wrote {_quoted(text)} in {texts.meta['D']} tokens, and no level yet: "
                f"{_listed(grammar)}; max_new_tokens=N would give more room"
            )
        elif not text.strip():
            reasons[row] = f"wrote nothing in place of a level: {_listed(grammar)}"
        else:
            reasons[row] = (
                f"wrote {_quoted(text)}, which is no level of "
                f"{texts.meta.get('policy') or 'its grammar'}: {_listed(grammar)}"
            )
    return reasons


def _at(values: Array, rows: Array, fill: int | bool) -> Array:
    """Return values (A, ...) at rows (B,); `fill` where a row is -1."""
    filled = np.append(values, np.array([fill], dtype=values.dtype))
    picked: Array = filled[rows]
    return picked


def _listed(grammar: Grammar) -> str:
    texts = [level.surface_form for level in grammar.levels]
    shown = texts if len(texts) <= _MOST_LISTED else texts[: _MOST_LISTED // 2]
    more = [f"{len(texts) - len(shown)} more"] if len(shown) < len(texts) else []
    return ", ".join([*map(_quoted, shown), *more]) if more else ", ".join(texts)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "...")
