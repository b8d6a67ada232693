"""What the trainers take: one field of every kind of flag."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class WordOptions:
    """Options of `words`."""

    members: int = field(default=2, metadata={"help": "Centroids in the ensemble"})
    smoothing: float = field(default=0.5, metadata={"help": "Added to every count"})
    weighting: Literal["count", "binary"] = "count"
    casefold: bool = field(default=True, metadata={"help": "Fold upper case"})
    stop_words: tuple[str, ...] = field(default=(), metadata={"help": "Words to skip"})
    buckets: int | None = field(default=None, metadata={"help": "Hash buckets"})
    interrupt_after: int | None = field(default=None, metadata={"identity": False})

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"members: at least 1, got {self.members}")


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Options of `word_pairs`."""

    margin: float = 0.0
