"""Grammars of guards that are often met, for tests of what reads verdicts.

A guard's own grammar comes from its profile; these are written down apart from it, so
that a test does not compare a profile with itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from safebench.verdict_tree.grammar import Grammar, Level

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.verdict_tree.grammar import Mode


def llama_guard(
    codes: Sequence[str],
    *,
    opener: str = "\n\n",
    mode: Mode = "strict",
    ignore_case: bool = False,
) -> Grammar:
    """``safe``, or ``unsafe`` and on the next line ``S1,S3``; `opener` may precede."""
    return Grammar(
        levels=(
            Level(name="safe"),
            Level(name="unsafe", takes_labels=True, positive=True),
        ),
        openers=("", opener) if opener else ("",),
        labels=tuple(codes),
        mode=mode,
        ignore_case=ignore_case,
    )


def yes_no(
    *,
    positive: str = "Yes",
    negative: str = "No",
    openers: Sequence[str] = ("",),
    mode: Mode = "strict",
) -> Grammar:
    """One of two words."""
    return Grammar(
        levels=(Level(name=positive, positive=True), Level(name=negative)),
        openers=tuple(openers),
        mode=mode,
    )


def graded(
    levels: Sequence[Level],
    labels: Sequence[str] = (),
    *,
    intro: str = "\n",
    separators: Sequence[str] = (",", ", "),
    cont: str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    codes: Sequence[str] = (),
    openers: Sequence[str] = ("",),
    mode: Mode = "strict",
) -> Grammar:
    """Ordered levels, some with labels in words, as Qwen3Guard writes them."""
    return Grammar(
        levels=tuple(levels),
        labels=tuple(labels),
        intro=intro,
        separators=tuple(separators),
        cont=cont,
        codes=tuple(codes),
        openers=tuple(openers),
        mode=mode,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAnswer:
    """One line of a composite verdict: `values` are what may follow `prefix`.

    A value of None ("N/A") leaves `task` unanswered.
    """

    task: str
    prefix: str
    values: Mapping[str, bool | None]


def composite(
    answers: Sequence[TaskAnswer],
    *,
    separator: str = "\n",
    openers: Sequence[str] = ("",),
) -> Grammar:
    """Several answers in one text: a level for every combination of their values."""
    return Grammar(
        levels=tuple(
            _combined_level(answers, values, separator)
            for values in product(*(answer.values for answer in answers))
        ),
        openers=tuple(openers),
    )


def wildguard() -> Grammar:
    """Three lines, for prompt harm, refusal and response harm, as WildGuard writes."""
    with_none: dict[str, bool | None] = {"yes": True, "no": False, "N/A": None}
    without_none: dict[str, bool | None] = {"yes": True, "no": False}
    return composite(
        [
            TaskAnswer(
                task="prompt_harm", prefix="Harmful request: ", values=without_none
            ),
            TaskAnswer(task="refusal", prefix="Response refusal: ", values=with_none),
            TaskAnswer(
                task="response_harm", prefix="Harmful response: ", values=with_none
            ),
        ]
    )


def _combined_level(
    answers: Sequence[TaskAnswer], values: Sequence[str], separator: str
) -> Level:
    pairs = list(zip(answers, values, strict=True))
    classes = {answer.task: answer.values[value] for answer, value in pairs}
    return Level(
        name="|".join(values),
        text=separator.join(answer.prefix + value for answer, value in pairs),
        positive={task: value for task, value in classes.items() if value is not None},
    )
