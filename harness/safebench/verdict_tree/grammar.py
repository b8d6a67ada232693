"""The grammar of a guard's verdicts, as data.

A strict verdict reads ``opener level``, and after a level that takes labels
``intro label (separator label)*``, or a word for none; a tail of the level may follow,
and then lines, each ``intro label (separator label)*`` with labels of its own. A
lenient verdict is any text: the first level in it counts, as a word of its own, and
every label after that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Mode = Literal["strict", "lenient"]


DIGITS = "0123456789"
BLANKS = " \t\r\n"
MAX_LABELS = 64  # a label set is stored as the bits of a uint64
# Fields that grammars had not when the first ones were stored, with their defaults.
_LATER_FIELDS: dict[str, Any] = {
    "ignore_blanks": False,
    "aliases": (),
    "none": (),
    "label_tasks": (),
    "lines": (),
    "variants": {},
}
MAX_LEVELS = 127  # a level is stored as an int8


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One verdict a guard can give, such as safe or unsafe.

    `text` (default: the name) is what the guard writes, `aliases` are other texts that
    say the same. `positive` says whether the level is positive, for every task or by
    task: one text may answer several, and a task that is left out is not answered
    positively. `tails` may end the verdict.
    """

    name: str
    text: str = ""
    takes_labels: bool = False
    positive: bool | Mapping[str, bool] = False
    tails: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def surface_form(self) -> str:
        """The text that the guard writes for the level."""
        return self.text or self.name

    @property
    def surface_forms(self) -> tuple[str, ...]:
        """All texts that are read as the level, the usual one first."""
        return (self.surface_form, *self.aliases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Labels that are written after those of the level, behind an `intro` of their own.

    With `positive`, the line answers `task`: by those of its labels; `silent` ones,
    such as N/A, leave it unanswered, and the others are negative. With `codes`, its
    labels are the categories of that task. `none` are words that stand for no label,
    `aliases` the other spellings of each label; without `separators` there is one.
    """

    intro: str
    labels: tuple[str, ...]
    task: str = ""
    positive: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    separators: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    aliases: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """How to read a verdict; checked when built (raises OptionError).

    `openers` may come before the level ("" among them: none may). The first separator
    is the canonical one; the longest that fits is read. `cont` are the ASCII characters
    that continue a label: S1 followed by one is not S1. `codes` are the policy's names
    of the labels where the guard writes others, `aliases` the other spellings of each
    label, `none` words in place of labels that say that there are none. `label_tasks`
    are the tasks whose categories the labels are (empty: all). `lines` may follow.

    `whole_words` reads a level only where no letter, digit, hyphen or underscore
    touches it: unsafe is no safe, nor is safety; in lenient parsing a label, too, only
    where none comes before it. `ignore_case` reads all in any case of ASCII letters,
    `ignore_blanks` with or without spaces and line feeds at any place. `variants` are
    names for several positive levels.
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
    ignore_blanks: bool = False
    aliases: tuple[tuple[str, ...], ...] = ()
    none: tuple[str, ...] = ()
    label_tasks: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

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
        complete before the labels branch. A space alone is none: tokenizers write it
        in one piece with the word after it.
        """
        stems = [label[:-1] for label in self.labels]
        length = 0
        while stems and all(len(stem) > length for stem in stems):
            if len({stem[length] for stem in stems}) > 1:
                break
            length += 1
        prefix = stems[0][:length] if stems else ""
        return prefix if prefix.strip() else ""

    @property
    def all_labels(self) -> tuple[str, ...]:
        """The labels and those of all lines, each a bit of what was read."""
        return tuple(x for line in self.label_lists for x in line.labels)

    def texts(self) -> Iterator[str]:
        """Yield every text that a verdict is made of."""
        yield from self.openers
        for level in self.levels:
            yield from (*level.surface_forms, *level.tails)
        for line in self.label_lists:
            yield from (line.intro, *line.labels, *line.separators, *line.none)
            yield from (x for texts in line.aliases for x in texts)

    @property
    def label_lists(self) -> tuple[Line, ...]:
        """All lists of labels: that of the level, as a line like the others, first."""
        of_level = Line(
            intro=self.intro,
            labels=self.labels,
            codes=self.codes,
            separators=self.separators,
            none=self.none,
            aliases=self.aliases,
        )
        return (of_level, *self.lines)

    def list_start(self, number: int) -> int:
        """Return how many labels come before those of a list, 0 that of the level."""
        return sum(len(line.labels) for line in self.label_lists[:number])

    def answers(self, task: str, names: Sequence[str] = ()) -> tuple[int, ...]:
        """Return the labels that answer `task` positively in a line, () without one.

        They are numbers in `all_labels`. `names` are labels of the line that count
        instead; raises OptionError for others.
        """
        number = self._answering_line(task)
        if number is None:
            return ()
        line, start = self.label_lists[number], self.list_start(number)
        known = [label.strip() for label in line.labels]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise OptionError(
                f"positive: {task} is not answered by {unknown[0]!r}\n"
                f"  there is: {', '.join(known)}"
            )
        wanted = names or [label.strip() for label in line.positive]
        return tuple(start + i for i, x in enumerate(known) if x in wanted)

    def line_answers(self, task: str) -> tuple[int, ...]:
        """Return the labels that answer `task` in a line, positively or negatively."""
        number = self._answering_line(task)
        if number is None:
            return ()
        line, start = self.label_lists[number], self.list_start(number)
        return tuple(
            start + i for i, x in enumerate(line.labels) if x not in line.silent
        )

    def _answering_line(self, task: str) -> int | None:
        """Return the number of the list that answers `task`, None without one."""
        answering = (
            i for i, x in enumerate(self.label_lists) if x.positive and x.task == task
        )
        return next(answering, None)

    def categories(self, task: str) -> dict[str, int]:
        """Return code -> number in `all_labels` of the categories of a task."""
        for number, line in enumerate(self.lines, 1):
            if line.codes and line.task == task:
                start = self.list_start(number)
                return {code: start + i for i, code in enumerate(line.codes)}
        if self.label_tasks and task not in self.label_tasks:
            return {}
        return {code: i for i, code in enumerate(self.label_codes)}

    def positive_mask(self, task: str, names: Sequence[str] = ()) -> tuple[bool, ...]:
        """Return whether each level is positive: one of `names`, or else for `task`.

        A name may be that of several levels (`variants`). No level is positive for a
        task that a line answers. Raises OptionError for a name that is no level, or if
        no level answers `task`.
        """
        known = [level.name for level in self.levels]
        if self.answers(task, names):
            return (False,) * len(known)
        names = [level for name in names for level in self.variants.get(name, (name,))]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise OptionError(
                f"positive: no level {unknown[0]!r}\n"
                f"  there is: {', '.join([*known, *self.variants])}"
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

    def answers_mask(self, task: str) -> tuple[bool, ...]:
        """Return whether each level answers `task`, positively or negatively."""
        flags = [level.positive for level in self.levels]
        return tuple(not isinstance(p, Mapping) or task in p for p in flags)

    def to_json(self) -> dict[str, Any]:
        """Return the grammar as JSON values, which `from_json` reads."""
        values = asdict(self)
        later = dict(_LATER_FIELDS)
        if self.mode == "strict":
            later |= {"whole_words": False, "ignore_case": False}
        for name, default in later.items():
            if values[name] == default:  # stored grammars stay as they were without
                del values[name]
        for level in values["levels"]:
            if not level["aliases"]:
                del level["aliases"]
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

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
        values.setdefault("whole_words", False)
        values["levels"] = tuple(Level(**_as_tuples(lv)) for lv in data["levels"])
        values["lines"] = tuple(
            Line(**_as_tuples(line)) for line in data.get("lines", ())
        )
        values["aliases"] = tuple(map(tuple, data.get("aliases", ())))
        values["variants"] = {k: tuple(v) for k, v in data.get("variants", {}).items()}
        return cls(**values)


def _as_tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON values with every list, also inside of another, as a tuple."""

    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value

    return {key: frozen(value) for key, value in data.items()}


def _check(grammar: Grammar) -> None:
    """Raise OptionError for the first thing that would make verdicts ambiguous."""
    errors = [
        *_level_errors(grammar),
        *_label_errors(grammar),
        *_separator_errors(grammar),
        *_line_errors(grammar),
    ]
    if errors:
        raise OptionError(f"grammar: {errors[0]}")


def _level_errors(grammar: Grammar) -> list[str]:
    levels = grammar.levels
    texts = [
        folded_text(grammar, text) for level in levels for text in level.surface_forms
    ]
    errors = []
    if not 0 < len(levels) <= MAX_LEVELS:
        errors.append(f"{len(levels)} levels, not 1 to {MAX_LEVELS}")
    if len(set(texts)) < len(texts) or len({lv.name for lv in levels}) < len(levels):
        errors.append("two levels of the same name or text")
    if not grammar.openers:
        errors.append('no openers; ("",) means that none is needed')
    if any(lv.takes_labels for lv in levels) and not grammar.labels:
        errors.append("a level takes labels, but there are none")
    return errors + _ambiguous_levels(grammar) + _ambiguous_label_starts(grammar)


def _ambiguous_levels(grammar: Grammar) -> list[str]:
    """Return an error for each text, opener and level, that can be parsed twice."""
    openers = grammar.openers if grammar.mode == "strict" else ("",)
    texts = [
        (folded_text(grammar, opener + text), lv)
        for opener in openers
        for lv in grammar.levels
        for text in lv.surface_forms
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
    following = [*level.tails, *(line.intro for line in grammar.lines)]
    if level.takes_labels:
        following += [grammar.intro] if grammar.intro else grammar.labels
    folded = [folded_text(grammar, text) for text in following]
    first = {text[0] for text in folded if text}
    no_intro = level.takes_labels and not grammar.intro
    return first | ({grammar.label_prefix[:1]} if no_intro else set())


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
    errors = []
    if len(grammar.all_labels) > MAX_LABELS:
        errors.append(f"{len(grammar.all_labels)} labels, more than {MAX_LABELS}")
    tails = {t for lv in grammar.levels if lv.takes_labels for t in lv.tails}
    for number, line in enumerate(grammar.label_lists):
        if line.codes and len(line.codes) != len(line.labels):
            errors.append(f"{len(line.codes)} codes for {len(line.labels)} labels")
        if line.aliases and len(line.aliases) != len(line.labels):
            errors.append(f"aliases of {len(line.aliases)} labels, not of each")
        later = [other.intro for other in grammar.lines[number:]]
        following = [*line.separators, *([] if number else tails), *later]
        errors += _list_errors(grammar, line, following)
    return errors


def spellings(line: Line) -> list[tuple[str, ...]]:
    """Return all texts that are read as each label of a list, the usual one first."""
    aliases = line.aliases or [()] * len(line.labels)
    return [(label, *rest) for label, rest in zip(line.labels, aliases, strict=False)]


def _list_errors(grammar: Grammar, line: Line, following: Sequence[str]) -> list[str]:
    """Return what makes the labels of one list ambiguous, given what may follow one."""
    errors = []
    owner: dict[str, str] = {}
    for label, *others in [*((text,) for text in line.none), *spellings(line)]:
        for text in (label, *others):
            folded = folded_text(grammar, text)
            if not folded or owner.get(folded, label) != label:
                errors.append("a label is empty or given twice")
            owner[folded] = label
    if len({*line.none, *line.labels}) < len(line.none) + len(line.labels):
        errors.append("a label is empty or given twice")
    first = {folded_text(grammar, text)[:1] for text in following}
    for label in owner:
        for longer in owner:
            rest = longer.removeprefix(label)
            if rest in ("", longer) or rest[0] in grammar.cont:
                continue
            # Lenient parsing reads on after any character, not a separator alone.
            if grammar.mode == "lenient" or rest[0] in first:
                errors.append(
                    f"label {label!r} followed by {rest[0]!r} starts label {longer!r}"
                )
    return errors


def _line_errors(grammar: Grammar) -> list[str]:
    errors = []
    if grammar.mode == "lenient" and (grammar.lines or grammar.none):
        errors.append("lines and a word for no label are for strict grammars")
    if grammar.mode == "lenient" and grammar.ignore_blanks:
        errors.append("ignore_blanks is for strict grammars")
    for line in grammar.lines:
        if not folded_text(grammar, line.intro):
            errors.append("a line needs an intro")
        named = (*line.positive, *line.silent)
        if unknown := [x for x in named if x not in line.labels]:
            errors.append(f"no label {unknown[0]!r} in the line {line.intro!r}")
    intros = [folded_text(grammar, line.intro) for line in grammar.lines]
    if len(set(intros)) < len(intros):
        errors.append("two lines of the same intro")
    return errors


def folded_text(grammar: Grammar, text: str) -> str:
    """Return a text as the grammar compares it: without case or blanks, if it says."""
    if grammar.ignore_blanks:
        text = "".join(c for c in text if c not in BLANKS)
    return text.lower() if grammar.ignore_case else text


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
