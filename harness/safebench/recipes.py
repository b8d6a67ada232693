"""How the rows of a public set are read, said as data: columns, labels, files.

A `Recipe` says it for one task of a set, and `.declared` follows it. A column may have
several names, ``("prompt", "Behavior")``, where copies of a set differ: the first one
that a row fills is read. ``turns.0`` and ``prompt.text`` lead into lists and structs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Columns = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Every:
    """The same label for all rows: a set of one class."""

    value: bool


@dataclass(frozen=True, slots=True)
class Words:
    """A label by its words, written ``a|b``; any other word is refused.

    Case and white space play no part, and 1, 1.0 and "1" are one word. A word in
    `unknown` and an empty cell are rows without a label.
    """

    columns: Columns
    positive: str
    negative: str
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A score that is positive from `bound` on, or only above it."""

    column: str
    bound: float
    above: bool = False


@dataclass(frozen=True, slots=True)
class AnyFlag:
    """Several columns of 0 and 1: positive if one is set, unknown if one is -1."""

    columns: Columns


@dataclass(frozen=True, slots=True)
class Votes:
    """Columns with one rater's word each; the plurality decides, a tie is unknown.

    `negative` is the word for harmless and `unsure` that for neither, written ``a|b``;
    any other word is a kind of harm and counts as positive. Empty cells are no votes.
    """

    columns: Columns
    negative: str
    unsure: str = ""


@dataclass(frozen=True, slots=True)
class BySource:
    """The label that each `Source` of the split has: configs that are one class."""


LabelRule = Every | Words | AtLeast | AnyFlag | Votes | BySource


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where rows of a split lie: a config and split of the hub.

    `files` are patterns of their files. They are read by name where there is no config,
    and in a local copy without a card that would say which files belong together.
    `options` go to ``load_dataset``. `label` (`BySource`) and `language` are those of
    all its rows. `keep` is as in `Recipe`: where all splits lie in one file, a column
    names them.
    """

    config: str | None = None
    split: str = "train"
    files: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    label: bool | None = None
    language: str = ""
    keep: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A place of the hub that holds the set, and where its splits lie there.

    `codes` are those of `Recipe` for a version that numbers its categories otherwise;
    "" is a category that the policy has not.
    """

    hub_id: str
    splits: Mapping[str, tuple[Source, ...]]
    codes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one task of a set is read.

    The hub is asked for the first of the `homes`; of local copies the first that is
    there is read.

    The text: `prompt` and `response` are columns, `messages` a conversation in place of
    both, `transcript` turns that begin with Human: and Assistant:, of which the first
    is judged. `claim` is held against `documents`. `context` is put after the prompt,
    if a row has one. `unwrap` are two marks of a template: what stands between them is
    judged, where a prompt has both. With `each`, every prompt column yields an example
    of its own, and they share a group; `each_is_language`: the columns are called by
    their languages.

    The rows: `keep` names those that belong to the task (column -> words as in
    `Words`; "" for an empty cell), `redacted` texts, in capitals and without brackets,
    that stand for one that is not there. Of rows with one value of `unique` (ratings of
    one text) the first is read.

    `categories` holds names or codes of the spec's policy, with `codes` for those that
    are called otherwise. `meta` are columns to slice by; they may be missing.
    """

    homes: tuple[Home, ...]
    label: LabelRule
    prompt: Columns = ()
    response: Columns = ()
    messages: str = ""
    transcript: str = ""
    each: bool = False
    each_is_language: bool = False
    unique: str = ""
    context: Columns = ()
    documents: str = ""
    claim: str = ""
    categories: Columns = ()
    codes: Mapping[str, str] = field(default_factory=dict)
    language: str = ""
    group: str = ""
    keep: Mapping[str, str] = field(default_factory=dict)
    redacted: frozenset[str] = frozenset()
    unwrap: tuple[str, str] = ("", "")
    meta: Columns = ()

    def home(self, hub_id: str) -> Home:
        """Return the home of this id, or a copy of one under another organisation.

        That of the same name; the first one if none has it.
        """
        for home in self.homes:
            if home.hub_id == hub_id:
                return home
        name = hub_id.rpartition("/")[2].casefold()
        alike = (
            home
            for home in self.homes
            if home.hub_id.rpartition("/")[2].casefold() == name
        )
        return replace(next(alike, self.homes[0]), hub_id=hub_id)
