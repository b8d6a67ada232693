"""One ensemble's training, as members and worker processes are told of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .encoding import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safebench.records import Dataset

    from .bases import Base
    from .options import TrainOptions

CLASSES = ("safe", "harmful")
CHECKPOINTS = "checkpoint-{}"


@dataclass(frozen=True, slots=True)
class Part:
    """Texts as (context, text), with 1 for harmful, and what is drawn together."""

    texts: list[tuple[str, str]]
    labels: list[int]
    groups: list[str]

    @classmethod
    def of(cls, dataset: Dataset) -> Part:
        """Return what members learn from, of rows that all have a label."""
        return cls(
            texts=[read_text(sample) for sample in dataset.samples],
            labels=[int(gold.label.value is True) for gold in dataset.golds],
            groups=[sample.group or sample.content for sample in dataset.samples],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Members to train: a base each, options, data, and where the folder is."""

    options: TrainOptions
    bases: tuple[Base, ...]
    out: Path
    train: Part
    val: Part
    seed: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def name(self, member: int) -> str:
        """Return the name of a member, which is that of its folder."""
        width = max(2, len(str(len(self.bases))))
        return f"member-{member + 1:0{width}d}"

    def folder(self, member: int) -> Path:
        """Return a member's folder; it is there if and only if it is finished."""
        return self.out / self.name(member)

    def checkpoints(self, member: int) -> Path:
        """Return where an unfinished member keeps its checkpoints."""
        return self.out / CHECKPOINTS.format(self.name(member))

    def member_seed(self, member: int, what: str) -> int:
        """Return a seed of 31 bits for one purpose (head, order, bag) of one member."""
        text = f"{self.seed}\x1f{member}\x1f{what}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1
