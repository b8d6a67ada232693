"""The grammar of a guard's verdicts, as data: levels, labels and what joins them.

A strict verdict reads ``opener level``, and after a level that takes labels
``intro label (separator label)*``; a tail of the level may end it. A lenient one is
searched for the first level word and for labels after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self

from safebench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    def words(self) -> str:
        """What the guard writes."""
        return self.text or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """How to read a verdict; checked when built (raises OptionError).

    `openers` may come before the level ("" among them: none may). The first separator
    is the canonical one; the longest that fits is read. `cont` are the ASCII characters
    that continue a label: S1 followed by one is not S1. `codes` are the policy's names
    of the labels where the guard writes others.
    """

    levels: tuple[Level, ...]
    openers: tuple[str, ...] = ("",)
    intro: str = "\n"
    labels: tuple[str, ...] = ()
    separators: tuple[str, ...] = (",", ", ")
    cont: str = DIGITS
    codes: tuple[str, ...] = ()
    mode: Literal["strict", "lenient"] = "strict"

    def __post_init__(self) -> None:
        _refuse(_complaints(self))

    @property
    def columns(self) -> tuple[str, ...]:
        """The policy codes of the labels, in label order."""
        return self.codes or self.labels

    @property
    def stem(self) -> str:
        """What all labels start with; at least one character of each is left out."""
        heads = [label[:-1] for label in self.labels]
        shared = 0
        while heads and all(len(head) > shared for head in heads):
            if len({head[shared] for head in heads}) > 1:
                break
            shared += 1
        return heads[0][:shared] if heads else ""

    def positives(self, task: str, names: Sequence[str] = ()) -> tuple[bool, ...]:
        """Say of each level whether it is positive: by `names`, else for `task`.

        Raises OptionError for a name that is no level, or if no level answers `task`.
        """
        known = [level.name for level in self.levels]
        strangers = [name for name in names if name not in known]
        if strangers:
            raise OptionError(
                f"positive: no level {strangers[0]!r}\n  there is: {', '.join(known)}"
            )
        if names:
            return tuple(name in names for name in known)
        given = [level.positive for level in self.levels]
        if all(isinstance(p, Mapping) and task not in p for p in given):
            answered = sorted({t for p in given if isinstance(p, Mapping) for t in p})
            raise OptionError(
                f"this guard does not answer {task}\n"
                f"  it answers: {', '.join(answered)}"
            )
        return tuple(p.get(task, False) if isinstance(p, Mapping) else p for p in given)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values from which `from_json` builds an equal grammar."""
        out = asdict(self)
        for level in out["levels"]:
            level["tails"] = list(level["tails"])
            if isinstance(level["positive"], Mapping):
                level["positive"] = dict(level["positive"])
        return {key: list(v) if isinstance(v, tuple) else v for key, v in out.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Build a grammar from `to_json`'s values; absent keys take their defaults."""
        known = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in data.items()
            if key in known
        }
        kept["levels"] = tuple(
            Level(**{**level, "tails": tuple(level.get("tails", ()))})
            for level in data["levels"]
        )
        return cls(**kept)


def _refuse(complaints: Sequence[str]) -> None:
    if complaints:
        raise OptionError(f"grammar: {complaints[0]}")


def _complaints(grammar: Grammar) -> list[str]:
    return [
        *_level_complaints(grammar),
        *_label_complaints(grammar),
        *_joint_complaints(grammar),
    ]


def _level_complaints(grammar: Grammar) -> list[str]:
    levels, texts = grammar.levels, [level.words for level in grammar.levels]
    out = []
    if not 0 < len(levels) <= MAX_LEVELS:
        out.append(f"{len(levels)} levels, not 1 to {MAX_LEVELS}")
    if len(set(texts)) < len(texts) or len({lv.name for lv in levels}) < len(levels):
        out.append("two levels of the same name or text")
    if not grammar.openers:
        out.append('no openers; ("",) means that none is needed')
    if any(lv.takes_labels for lv in levels) and not grammar.labels:
        out.append("a level takes labels, but there are none")
    return out + _clashes(grammar) + _lost_labels(grammar)


def _clashes(grammar: Grammar) -> list[str]:
    """Name texts, from the start to the end of a level, that read in two ways."""
    openers = grammar.openers if grammar.mode == "strict" else ("",)
    said = [(opener + lv.words, lv) for opener in openers for lv in grammar.levels]
    out = []
    for text, level in said:
        heads = _heads_after(grammar, level)
        for longer, other in said:
            if text == longer and level.name < other.name:
                out.append(f"{text!r} reads as {level.name!r} and as {other.name!r}")
            rest = longer[len(text) :] if longer.startswith(text) else ""
            if rest and (rest[0] in heads or "" in heads):
                out.append(f"after {text!r} a longer level or a tail may follow")
    return out


def _heads_after(grammar: Grammar, level: Level) -> set[str]:
    """Return what can follow a level: first characters, "" for a label's place."""
    if not level.takes_labels:
        return {tail[0] for tail in level.tails if tail}
    if grammar.intro:
        return {grammar.intro[0]}
    return {label[0] for label in grammar.labels if label} | {grammar.stem[:1]}


def _lost_labels(grammar: Grammar) -> list[str]:
    """Name levels that end inside another whose rest may hold the start of a label.

    Lenient reading waits for the longer one and, should it fail, has read the rest.
    """
    heads = {label[0] for label in grammar.labels if label}
    return [
        f"after {level.words!r} a label may follow, or the rest of {other.words!r}"
        for level in grammar.levels
        for other in grammar.levels
        if grammar.mode == "lenient" and level.takes_labels
        if heads & set(other.words.partition(level.words)[2])
    ]


def _label_complaints(grammar: Grammar) -> list[str]:
    labels, out = grammar.labels, []
    if len(labels) > MAX_LABELS:
        out.append(f"{len(labels)} labels, more than {MAX_LABELS}")
    if len(set(labels)) < len(labels) or "" in labels:
        out.append("a label is empty or given twice")
    if grammar.codes and len(grammar.codes) != len(labels):
        out.append(f"{len(grammar.codes)} codes for {len(labels)} labels")
    for label in labels:
        for longer in labels:
            rest = longer.removeprefix(label)
            if rest not in ("", longer) and rest[0] not in grammar.cont:
                out.append(
                    f"label {label!r} followed by {rest[0]!r} starts label {longer!r}"
                )
    return out


def _joint_complaints(grammar: Grammar) -> list[str]:
    tails = {tail for lv in grammar.levels if lv.takes_labels for tail in lv.tails}
    joints = [*grammar.separators, *tails]
    out = [
        f"{joint!r} starts with a character that continues labels"
        for joint in joints
        if joint[:1] in grammar.cont or not joint
    ]
    if grammar.mode == "lenient" and any(level.tails for level in grammar.levels):
        out.append("tails are for strict grammars")
    if grammar.mode not in ("strict", "lenient"):
        out.append(f"mode is {grammar.mode!r}, not strict or lenient")
    if not grammar.cont.isascii():
        out.append("cont holds a character outside ASCII")
    return out
