"""The records that travel between datasets, classifiers and metrics.

A `Sample` is all that a classifier ever sees, and holds no label anywhere; its
`GroundTruth` goes to the metrics beside it, and nowhere else.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Literal

from .forwarding import old_fields, old_names
from .record_columns import UNKNOWN, ColumnsBuilder, RecordColumns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    # ASCII is in this form: most texts need no look at their letters
    return (text if text.isascii() else unicodedata.normalize("NFC", text)).strip()


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; `role` is user, assistant, system or tool."""

    role: str
    text: str


def content_hash(turns: tuple[Turn, ...], documents: tuple[str, ...] = ()) -> str:
    """Return the SHA-256 (hex) of roles and normalised texts, documents included."""
    # JSON, since no separator is safe: any character may stand in a text. By its parts,
    # since the general encoder takes longer than the hash.
    pairs = [
        f"[{encode_basestring_ascii(turn.role)}, "
        f"{encode_basestring_ascii(normalise(turn.text))}]"
        for turn in turns
    ]
    content = f"[{', '.join(pairs)}]"
    if documents:  # without them as in versions that had none: old hashes stay valid
        texts = (encode_basestring_ascii(normalise(text)) for text in documents)
        content = f"[{content}, [{', '.join(texts)}]]"
    return hashlib.sha256(content.encode()).hexdigest()


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

    Those of a large split are read from a file each time they are looked at: what is
    asked about all samples is in `columns`.

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
    samples: Sequence[Sample]
    ground_truth: Sequence[GroundTruth]
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
    def columns(self) -> RecordColumns:
        """What a run reads of all samples, in arrays."""
        stored = getattr(self.samples, "columns", None)
        if isinstance(stored, RecordColumns):
            return stored
        return _columns_of(self.samples, self.ground_truth)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 over ids, contents and labels, in order."""
        digest = hashlib.sha256()
        for line in self._hashed_lines():
            digest.update(line.encode())
        return digest.hexdigest()

    def _hashed_lines(self) -> Iterator[str]:
        columns = self.columns
        rows = zip(columns.ids, columns.hex_contents(), strict=True)
        if columns.annotated or columns.paired:
            for (sample_id, content), truth in zip(
                rows, self.ground_truth, strict=True
            ):
                labels = (truth.label.value, sorted(truth.categories or ()), truth.pair)
                yield f"{sample_id}\x1f{content}\x1f{labels}\n"
            return
        # a truth has nothing but its label, and there are three of them
        texts = {v: str((v, [], None)) for v in (True, False, None)}
        labels_of = {1: texts[True], 0: texts[False], UNKNOWN: texts[None]}
        for (sample_id, content), value in zip(
            rows, columns.value.tolist(), strict=True
        ):
            yield f"{sample_id}\x1f{content}\x1f{labels_of[value]}\n"


def _columns_of(
    samples: Sequence[Sample], truths: Sequence[GroundTruth]
) -> RecordColumns:
    builder = ColumnsBuilder()
    for sample, truth in zip(samples, truths, strict=True):
        builder.add(
            sample.id,
            sample.group,
            bytes.fromhex(sample.content),
            truth.label.value,
            roles=[turn.role for turn in sample.turns],
            target=sample.target,
            length=sum(len(turn.text) for turn in sample.turns),
            documents=bool(sample.documents),
            task=sample.task,
        )
        builder.note_extras(
            categories=truth.categories,
            pair=truth.pair,
            meta=sample.meta,
            gold_meta=truth.meta,
            named=sample.language is not None or sample.transform is not None,
        )
    return builder.columns()


__getattr__ = old_names(__name__)
