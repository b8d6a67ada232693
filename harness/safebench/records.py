"""The records that travel between datasets, classifiers and metrics.

A `Sample` is all that a classifier ever sees, and holds no label anywhere; its
`GroundTruth` goes to the metrics beside it, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from .forwarding import old_fields, old_names

TASKS = (
    "prompt_harm",
    "response_harm",
    "refusal",
    "injection",
    "jailbreak",
    "groundedness",
)
# they judge the assistant's last turn, the others what it answers
RESPONSE_TASKS = frozenset({"response_harm", "refusal", "groundedness"})


def normalise(text: str) -> str:
    """Fold what does not change a text's meaning: NFC, outer space, line ends.

    Composed and decomposed letters look alike, and data sets of one origin differ in
    them: without this their duplicates would not be found.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text).strip()


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; `role` is user, assistant, system or tool."""

    role: str
    text: str


def content_hash(turns: tuple[Turn, ...], documents: tuple[str, ...] = ()) -> str:
    """Return the SHA-256 (hex) of roles and normalised texts, documents included."""
    # JSON, since no separator is safe: any character may stand in a text
    pairs = [[turn.role, normalise(turn.text)] for turn in turns]
    # without documents as in versions that had none: stored hashes stay valid
    content = [pairs, [*map(normalise, documents)]] if documents else pairs
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A conversation to judge, without any label.

    `target` indexes the judged turn (-1: the last). `documents` are the texts that a
    response is held against (groundedness), beside the turns. `group` clusters samples
    that belong together; splits and bootstraps keep a group whole. `transform` names an
    attack, paraphrase or translation of another sample.
    """

    id: str
    turns: tuple[Turn, ...]
    task: str = "prompt_harm"
    target: int = -1
    documents: tuple[str, ...] = ()
    group: str = ""
    language: str | None = None
    transform: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def content(self) -> str:
        """SHA-256 of roles and texts: equal for samples that read the same."""
        return content_hash(self.turns, self.documents)

    @property
    def judged(self) -> Turn:
        """The turn that is judged."""
        return self.turns[self.target]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What annotators said: a class, an ordered level, votes, or nothing.

    `value` True means positive for the task (harmful, refused, ...); None means that
    nobody knows. `votes` is (positive votes, all votes).
    """

    value: bool | None
    level: int | None = None
    votes: tuple[int, int] | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """The truth about one sample, seen by metrics alone.

    `categories` is None if nobody annotated them; `known` names the categories whose
    truth is known (None: all of the policy). `pair` is (pair id, safer | unsafer).
    """

    label: Label
    categories: frozenset[str] | None = None
    known: frozenset[str] | None = None
    pair: tuple[str, Literal["safer", "unsafer"]] | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@old_fields
@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One split, read: samples and ground truth in the same order.

    `revision` is the hub revision or ``local:<fingerprint>``; `counts` holds what was
    found and is not fatal (duplicates, conflicts, empty responses, skipped rows).
    `licence` is that of a public set ("" if none is known), `mix` how many samples each
    of joined sets has.
    """

    name: str
    config: str | None
    split: str
    task: str
    policy: str | None
    revision: str
    samples: list[Sample]
    ground_truth: list[GroundTruth]
    counts: dict[str, int] = field(default_factory=dict)
    contaminates: frozenset[str] = frozenset()
    licence: str = ""
    mix: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def label(self) -> str:
        """The name for tables: ``name[:config]:split``."""
        return ":".join(filter(None, (self.name, self.config, self.split)))

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 over ids, contents and labels, in order."""
        digest = hashlib.sha256()
        for sample, truth in zip(self.samples, self.ground_truth, strict=True):
            labels = (truth.label.value, sorted(truth.categories or ()), truth.pair)
            digest.update(f"{sample.id}\x1f{sample.content}\x1f{labels}\n".encode())
        return digest.hexdigest()


__getattr__ = old_names(__name__)
