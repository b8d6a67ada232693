"""A profile's answer as the grammar of its verdicts."""

from __future__ import annotations

from itertools import product
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Any, Literal

from safebench.errors import OptionError, did_you_mean
from safebench.verdict_tree import Grammar
from safebench_llamaguard_marginal.prompt.prompt_format import category_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.policies import Policy

    from .schema import Answer, LaterLine

    Labels = Literal["codes", "names"] | dict[str, str]

WORD = ascii_letters + digits + "-_"


def answer_grammar(
    answer: Answer,
    policy: Policy,
    *,
    variants: Mapping[str, Sequence[str]] | None = None,
    mode: Literal["strict", "lenient"] = "strict",
    ignore_case: bool = False,
    whole_words: bool = True,
    where: str = "profile",
) -> Grammar:
    """Return the grammar; raises OptionError for one that can be read in two ways.

    `variants` are the profile's names for several positive levels.
    """
    where = f"{where}: answer"
    levels = _line_levels(answer) or _levels(answer)
    takes = any(level["takes_labels"] for level in levels)
    if takes and not policy.codes:
        raise OptionError(
            f"{where}: labels follow a level, and this guard has no policy of its own "
            "that has any: name yours (policy=FILE, or the id of one)"
        )
    labels = label_texts(answer.labels, policy, where) if takes else ()
    listed = _LabelList(answer.intro, answer.separators, labels, answer.none)
    aliases = _aliases(answer.aliases, policy, where) if takes else []
    values: dict[str, Any] = {
        "levels": levels,
        "openers": answer.openers,
        **(listed.with_spaces(aliases) if takes else {}),
        "cont": answer.cont or (WORD if _in_words(answer) else digits),
        "codes": policy.codes if takes else (),
        "mode": mode,
        "whole_words": whole_words,
        "ignore_case": ignore_case or answer.ignore_case,
        "ignore_blanks": answer.ignore_blanks,
        "label_tasks": answer.label_tasks,
        "lines": [_later_line(line, policy, where) for line in answer.then],
        "variants": {k: list(v) for k, v in (variants or {}).items()},
    }
    try:
        grammar = Grammar.from_json(values)
        for names in grammar.variants.values():
            grammar.positive_mask("", names)
    except OptionError as error:
        raise OptionError(f"{where}: {error.message}") from None
    return grammar


def one_sided_answer(grammar: Grammar, task: str) -> str | None:
    """Say why an answer tells nothing about a task: it is the same in every level."""
    if grammar.answers(task):
        return None  # by a line after the level
    positive = grammar.positive_mask(task)
    if not any(positive):
        return "no answer is positive: nothing could be flagged"
    if all(positive):
        return "every answer is positive: everything would be flagged"
    return None


class _LabelList:
    """The texts of a list of labels, and how they are joined."""

    def __init__(
        self,
        intro: str,
        separators: Sequence[str],
        labels: Sequence[str],
        none: Sequence[str],
    ) -> None:
        self.intro, self.separators = intro, separators
        self.labels, self.none = labels, none

    def with_spaces(self, aliases: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
        """Return them as fields of a grammar, the spaces with the labels.

        Tokenizers write a word and the space before it in one piece: ", " and "PII" is
        "," and " PII". Both spellings are read, whichever the tokens are.
        """
        first = self.separators[0] if self.separators else self.intro
        spellings = [
            (x, *others)
            for x, others in zip(
                self.labels, aliases or [()] * len(self.labels), strict=True
            )
        ]
        if not (self.intro.endswith(" ") and first.endswith(" ")):
            spaced = [
                tuple(f" {x}" for x in texts) if first.endswith(" ") else ()
                for texts in spellings
            ]
            return {
                "intro": self.intro,
                "separators": _without_space(self.separators, bool(any(spaced))),
                "labels": [texts[0] for texts in spellings],
                "aliases": _or_nothing(
                    [
                        [*texts[1:], *more]
                        for texts, more in zip(spellings, spaced, strict=True)
                    ]
                ),
                "none": self.none,
            }
        return {
            "intro": self.intro.rstrip(" "),
            "separators": _without_space(self.separators, True),
            "labels": [f" {texts[0]}" for texts in spellings],
            "aliases": [
                [texts[0], *(x for t in texts[1:] for x in (f" {t}", t))]
                for texts in spellings
            ],
            "none": [x for text in self.none for x in (f" {text}", text)],
        }


def _without_space(separators: Sequence[str], moved: bool) -> list[str]:
    if not moved:
        return list(separators)
    return list(dict.fromkeys(text.rstrip(" ") or text for text in separators))


def _or_nothing(aliases: list[list[str]]) -> list[list[str]]:
    return aliases if any(aliases) else []


def _in_words(answer: Answer) -> bool:
    """Tell whether labels are words, which a letter goes on with."""
    return bool(answer.labels != "codes" or answer.then or answer.aliases)


def _levels(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "name": level.name,
            "text": level.text,
            "takes_labels": level.takes_labels,
            "positive": level.positive,
            "tails": list(level.tails),
            "aliases": list(level.aliases),
        }
        for level in answer.levels
    ]


def _line_levels(answer: Answer) -> list[dict[str, Any]]:
    """Return a level for every combination of the values of an answer's lines."""
    levels = []
    for values in product(*(line.values for line in answer.lines)):
        lines = list(zip(answer.lines, values, strict=True))
        harm = {line.task: line.values[value] for line, value in lines}
        spellings = product(
            *(
                [line.prefix + x for x in (value, *line.aliases.get(value, ()))]
                for line, value in lines
            )
        )
        texts = [answer.line_separator.join(parts) for parts in spellings]
        takes = answer.takes_labels == "always" or (
            answer.takes_labels == "positive" and any(harm.values())
        )
        levels.append(
            {
                "name": "|".join(values),
                "text": texts[0],
                "takes_labels": takes,
                "positive": {t: flag for t, flag in harm.items() if flag is not None},
                "tails": list(answer.tails),
                "aliases": texts[1:],
            }
        )
    return levels if answer.lines else []


def _later_line(line: LaterLine, policy: Policy, where: str) -> dict[str, Any]:
    """Return a line after the labels as JSON of the grammar."""
    if line.values:
        return {
            "intro": line.prefix,
            "labels": list(line.values),
            "task": line.task,
            "positive": [text for text, flag in line.values.items() if flag],
            "silent": [text for text, flag in line.values.items() if flag is None],
        }
    labels = label_texts(line.labels, policy, where)
    listed = _LabelList(line.prefix, line.separators, labels, line.none)
    return {**listed.with_spaces(), "task": line.task, "codes": list(policy.codes)}


def _aliases(
    aliases: Mapping[str, Sequence[str]], policy: Policy, where: str
) -> list[Sequence[str]]:
    """Return the other spellings of each category of the policy, in its order."""
    for code in aliases:
        if code not in policy.codes:
            hint = did_you_mean(code, policy.codes)
            raise OptionError(f"{where}: aliases: {policy.id} has no {code!r}{hint}")
    return [aliases.get(code, ()) for code in policy.codes]


def label_texts(labels: Labels, policy: Policy, where: str) -> tuple[str, ...]:
    """Return how the guard writes each category of the policy, in its order."""
    if labels == "codes":
        return category_labels(policy)
    if labels == "names":
        return tuple(category.name for category in policy.categories)
    for code in labels:
        if code not in policy.codes:
            hint = did_you_mean(code, policy.codes)
            raise OptionError(
                f"{where}: labels: {policy.id} has no code {code!r}{hint}"
            )
    missing = [code for code in policy.codes if code not in labels]
    if missing:
        raise OptionError(
            f"{where}: labels: how is {missing[0]} of {policy.id} written?"
        )
    return tuple(labels[code] for code in policy.codes)
