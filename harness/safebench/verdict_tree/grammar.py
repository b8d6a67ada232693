"""The grammar of a guard's verdicts, as data, and the grammars of common guards.

A strict verdict reads ``opener level``, and after a level that takes labels
``intro label (separator label)*``; a tail of the level may end it. A lenient verdict
is any text: the first level in it counts, as a word of its own, and every label after
that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, Self

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Mode = Literal["strict", "lenient"]


DIGITS = "0123456789"
MAX_LABELS = 64  # a label set is stored as the bits of a uint64
MAX_LEVELS = 127  # a level is stored as an int8


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One verdict a guard can give, such as safe or unsafe.

    `text` (default: the name) is what the guard writes. `positive` says whether the
    level is positive, for every task or by task: one text may answer several, and a
    task that is left out is not answered positively. `tails` may end the verdict.
    """

    name: str
    text: str = ""
    takes_labels: bool = False
    positive: bool | Mapping[str, bool] = False
    tails: tuple[str, ...] = ()

    @property
    def surface_form(self) -> str:
        """The text that the guard writes for the level."""
        return self.text or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """How to read a verdict; checked when built (raises OptionError).

    `openers` may come before the level ("" among them: none may). The first separator
    is the canonical one; the longest that fits is read. `cont` are the ASCII characters
    that continue a label: S1 followed by one is not S1. `codes` are the policy's names
    of the labels where the guard writes others. Two fields are for lenient parsing:
    `whole_words` reads a level only where no letter, digit, hyphen or underscore
    touches it (unsafe is no safe, nor is unsafely) and a label only where none comes
    before it; `ignore_case` reads both in any case of ASCII letters.
    """

    levels: tuple[Level, ...]
    openers: tuple[str, ...] = ("",)
    intro: str = "\n"
    labels: tuple[str, ...] = ()
    separators: tuple[str, ...] = (",", ", ")
    cont: str = DIGITS
    codes: tuple[str, ...] = ()
    mode: Literal["strict", "lenient"] = "strict"
    whole_words: bool = True
    ignore_case: bool = False

    def __post_init__(self) -> None:
        _check(self)

    @property
    def label_codes(self) -> tuple[str, ...]:
        """The policy codes of the labels, in label order."""
        return self.codes or self.labels

    @property
    def label_prefix(self) -> str:
        """The common prefix of all labels, shorter than each of them.

        At least one character of every label is left after it, so that no label is
        complete before the labels branch.
        """
        stems = [label[:-1] for label in self.labels]
        length = 0
        while stems and all(len(stem) > length for stem in stems):
            if len({stem[length] for stem in stems}) > 1:
                break
            length += 1
        return stems[0][:length] if stems else ""

    def positive_mask(self, task: str, names: Sequence[str] = ()) -> tuple[bool, ...]:
        """Return whether each level is positive: one of `names`, or else for `task`.

        Raises OptionError for a name that is no level, or if no level answers `task`.
        """
        known = [level.name for level in self.levels]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise OptionError(
                f"positive: no level {unknown[0]!r}\n  there is: {', '.join(known)}"
            )
        if names:
            return tuple(name in names for name in known)
        flags = [level.positive for level in self.levels]
        if all(isinstance(p, Mapping) and task not in p for p in flags):
            tasks = sorted({t for p in flags if isinstance(p, Mapping) for t in p})
            raise OptionError(
                f"this guard does not answer {task}\n  it answers: {', '.join(tasks)}"
            )
        return tuple(p.get(task, False) if isinstance(p, Mapping) else p for p in flags)

    def to_json(self) -> dict[str, Any]:
        """Return the grammar as JSON values, which `from_json` reads."""
        values = asdict(self)
        if self.mode == "strict":  # stored grammars stay as they were without these
            del values["whole_words"], values["ignore_case"]
        for level in values["levels"]:
            level["tails"] = list(level["tails"])
            if isinstance(level["positive"], Mapping):
                level["positive"] = dict(level["positive"])
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Build a grammar from `to_json`'s values; absent keys take their defaults.

        But for `whole_words`: grammars were stored before there was the field, and
        their levels were read inside of words.
        """
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in data.items()
            if key in known
        }
        if data.get("mode") == "lenient":
            values.setdefault("whole_words", False)
        values["levels"] = tuple(
            Level(**{**level, "tails": tuple(level.get("tails", ()))})
            for level in data["levels"]
        )
        return cls(**values)


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


def _check(grammar: Grammar) -> None:
    """Raise OptionError for the first thing that would make verdicts ambiguous."""
    errors = [
        *_level_errors(grammar),
        *_label_errors(grammar),
        *_separator_errors(grammar),
    ]
    if errors:
        raise OptionError(f"grammar: {errors[0]}")


def _level_errors(grammar: Grammar) -> list[str]:
    levels, texts = grammar.levels, [level.surface_form for level in grammar.levels]
    if grammar.ignore_case:
        texts = [text.lower() for text in texts]
    errors = []
    if not 0 < len(levels) <= MAX_LEVELS:
        errors.append(f"{len(levels)} levels, not 1 to {MAX_LEVELS}")
    if len(set(texts)) < len(texts) or len({lv.name for lv in levels}) < len(levels):
        errors.append("two levels of the same name or text")
    if grammar.ignore_case and grammar.mode == "strict":
        errors.append("ignore_case is for lenient parsing; strict levels are exact")
    if not grammar.openers:
        errors.append('no openers; ("",) means that none is needed')
    if any(lv.takes_labels for lv in levels) and not grammar.labels:
        errors.append("a level takes labels, but there are none")
    return errors + _ambiguous_levels(grammar) + _ambiguous_label_starts(grammar)


def _ambiguous_levels(grammar: Grammar) -> list[str]:
    """Return an error for each text, opener and level, that can be parsed twice."""
    openers = grammar.openers if grammar.mode == "strict" else ("",)
    texts = [
        (opener + lv.surface_form, lv) for opener in openers for lv in grammar.levels
    ]
    errors = []
    for text, level in texts:
        first_characters = _first_characters_after(grammar, level)
        for other_text, other_level in texts:
            if text == other_text and level.name < other_level.name:
                errors.append(
                    f"{text!r} reads as {level.name!r} and as {other_level.name!r}"
                )
            rest = other_text[len(text) :] if other_text.startswith(text) else ""
            if rest and (rest[0] in first_characters or "" in first_characters):
                errors.append(f"after {text!r} a longer level or a tail may follow")
    return errors


def _first_characters_after(grammar: Grammar, level: Level) -> set[str]:
    """Return the first characters that may follow a level; "" where labels start."""
    if not level.takes_labels:
        return {tail[0] for tail in level.tails if tail}
    if grammar.intro:
        return {grammar.intro[0]}
    return {label[0] for label in grammar.labels if label} | {grammar.label_prefix[:1]}


def _ambiguous_label_starts(grammar: Grammar) -> list[str]:
    """Return an error for a level within another whose rest may start a label.

    Lenient parsing waits whether the longer level follows. If it does not, the
    characters read meanwhile are gone, and a label that started in them with them.
    """
    first_characters = {label[0] for label in grammar.labels if label}
    return [
        f"after {level.surface_form!r} a label may follow, "
        f"or the rest of {other.surface_form!r}"
        for level in grammar.levels
        for other in grammar.levels
        if grammar.mode == "lenient" and level.takes_labels
        if first_characters & set(other.surface_form.partition(level.surface_form)[2])
    ]


def _label_errors(grammar: Grammar) -> list[str]:
    labels, errors = grammar.labels, []
    if len(labels) > MAX_LABELS:
        errors.append(f"{len(labels)} labels, more than {MAX_LABELS}")
    if len(set(labels)) < len(labels) or "" in labels:
        errors.append("a label is empty or given twice")
    if grammar.codes and len(grammar.codes) != len(labels):
        errors.append(f"{len(grammar.codes)} codes for {len(labels)} labels")
    for label in labels:
        for longer in labels:
            rest = longer.removeprefix(label)
            if rest not in ("", longer) and rest[0] not in grammar.cont:
                errors.append(
                    f"label {label!r} followed by {rest[0]!r} starts label {longer!r}"
                )
    return errors


def _separator_errors(grammar: Grammar) -> list[str]:
    tails = {tail for lv in grammar.levels if lv.takes_labels for tail in lv.tails}
    joiners = [*grammar.separators, *tails]
    errors = [
        f"{joiner!r} starts with a character that continues labels"
        for joiner in joiners
        if joiner[:1] in grammar.cont or not joiner
    ]
    if grammar.mode == "lenient" and any(level.tails for level in grammar.levels):
        errors.append("tails are for strict grammars")
    if grammar.mode not in ("strict", "lenient"):
        errors.append(f"mode is {grammar.mode!r}, not strict or lenient")
    if not grammar.cont.isascii():
        errors.append("cont holds a character outside ASCII")
    return errors
