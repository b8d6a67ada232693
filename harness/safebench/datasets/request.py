"""The interface of dataset functions: a `DatasetRequest` in, `Example` records out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from safebench.forwarding import old_members
from safebench.records import Turn

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.records import Label
    from safebench.specs import DatasetSpec


TurnsOption = Literal["last", "all"]
WHOLE = "turns=all"  # in names of datasets whose conversations are judged whole


class BadRowError(ValueError):
    """A row that cannot be understood; whoever catches it knows the file and line."""


@dataclass(slots=True, kw_only=True)
class LoadReport:
    """What a reader reports beside the examples.

    `revision` is what was really read. `task` and `policy` are set by readers whose
    rows decide them. `skipped` lists (where, reason) of the rows left out. `notes` are
    for the user: what was decided about the data without being asked. `rows_read`
    counts the rows of the source before any was left out. `licence`, `contaminates`
    and `mix` are those of sets that are joined. `class_names` are
    names that the source stores for the values of a column, by index; rows hold
    those names already.
    """

    revision: str = ""
    task: str | None = None
    policy: str | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows_read: int = 0
    licence: str = ""
    contaminates: frozenset[str] = frozenset()
    mix: str = ""
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def skip(self, where: str, reason: str) -> None:
        """Record that the row at `where` is left out."""
        self.skipped.append((where, reason))


@old_members
@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRequest:
    """One split of one dataset, and how to read it.

    `source` is the file or hub id for the datasets `jsonl`, `csv` and `hub`.
    `data_root` redirects hub ids to a local folder (``ROOT/hub-id``). `columns` maps
    the names used here (prompt, response, label, ...) to the source's; `label_map` maps
    label words to safe or unsafe. `revision` is a commit of the hub in place of the
    catalog's, and with `strict` anything but exactly the expected rows is an error.
    With `turns` "all" a conversation is judged as one text, else its last turn is.
    `parts` are the sets that are joined. Readers write to `report`.
    """

    spec: DatasetSpec
    split: str
    config: str | None = None
    source: str | None = None
    data_root: Path | None = None
    revision: str | None = None
    strict: bool = False
    on_bad_row: Literal["fail", "skip"] = "fail"
    label_map: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    options: Any = None
    turns: TurnsOption = "last"
    parts: tuple[DatasetRequest, ...] = ()
    # Not compared: requests for the same split are equal before and after reading.
    report: LoadReport = field(default_factory=LoadReport, compare=False)

    @property
    def name(self) -> str:
        """The name for tables: the spec's, a file's name, or ``org--name``."""
        if self.source is None:
            return self.spec.name
        if self.spec.name == "hub":
            return self.source.replace("/", "--")
        return self.source.replace("\\", "/").rpartition("/")[2]

    @property
    def label(self) -> str:
        """The name for messages: ``name[:config]:split``."""
        return ":".join(filter(None, (self.name, self.label_config, self.split)))

    @property
    def label_config(self) -> str | None:
        """What stands between name and split: the config, and that turns are joined."""
        whole = WHOLE if self.turns == "all" else None
        return "+".join(filter(None, (self.config, whole))) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of a dataset: the conversation and its labels, still together.

    `load_dataset` splits it into a `Sample` for the classifier and a `GroundTruth` for
    the metrics. `documents` are what a response is held against. `meta` goes with the
    sample and must hold no hint of the label; `gold_meta` goes with the ground truth.
    `id` is None unless the source has ids, and `where` (``FILE:LINE`` or
    ``hub-id[row]``) is for messages.
    """

    turns: tuple[Turn, ...]
    label: Label
    target: int = -1
    documents: tuple[str, ...] = ()
    id: str | None = None
    group: str = ""
    categories: frozenset[str] | None = None
    known: frozenset[str] | None = None
    pair: tuple[str, Literal["safer", "unsafer"]] | None = None
    language: str | None = None
    transform: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    gold_meta: dict[str, Any] = field(default_factory=dict)
    where: str = ""


def exchange(prompt: str, response: str | None = None) -> tuple[Turn, ...]:
    """Return the turns of a prompt and, if there is one, its response."""
    user = Turn("user", prompt)
    return (user,) if response is None else (user, Turn("assistant", response))
