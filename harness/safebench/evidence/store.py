"""Evidence on disk: found by what was asked, whatever dataset asked it.

``evidence/<key>/evidence.json`` says which model recorded it and how;
``evidence/<key>/<probe>/00000.npz`` ... hold the shards.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from safebench.classifiers.base import Recording
from safebench.files import write_json

from .shard import read_head, read_shard, write_shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.records import Sample
    from safebench.specs import ClassifierSpec

    from .base import Evidence

DESCRIPTION = "evidence.json"


def question(sample: Sample, spec: ClassifierSpec) -> str:
    """Return what evidence about a sample is stored under.

    A classifier that `asks` the conversation answers every task at once.
    """
    if spec.asks == "conversation":
        return sample.content
    turn = sample.target % len(sample.turns)
    return f"{sample.content}:{turn}:{sample.task}"


def evidence_key(request: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return the SHA-256 (16 hex) of all that changes evidence."""
    text = json.dumps([request, facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Place:
    shard: Path
    row: int


class EvidenceStore:
    """The evidence of one model under one probe, appended shard by shard."""

    def __init__(self, folder: Path, kinds: Iterable[type[Evidence]]) -> None:
        self.folder = folder
        self.kinds = frozenset(kinds)
        self.places: dict[str, _Place] = {}
        wanted = {kind.kind_id for kind in self.kinds}
        for shard in sorted(folder.glob("[0-9]*.npz")):
            head = read_head(shard)
            if head is not None and wanted <= set(head["kinds"]):
                places = (
                    (q, _Place(shard, i)) for i, q in enumerate(head["questions"])
                )
                self.places.update(places)

    def __contains__(self, asked: str) -> bool:
        return asked in self.places

    def missing(self, asked: Iterable[str]) -> list[str]:
        """Return the questions without stored evidence: in order, each once."""
        return [q for q in dict.fromkeys(asked) if q not in self.places]

    def add(self, asked: Sequence[str], recording: Recording) -> None:
        """Store one shard; it is complete on disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        taken = [int(p.stem) for p in self.folder.glob("[0-9]*.npz")]
        shard = self.folder / f"{max(taken, default=-1) + 1:05d}.npz"
        write_shard(shard, asked, recording)
        self.places.update((q, _Place(shard, i)) for i, q in enumerate(asked))

    def load(self, asked: Sequence[str], kinds: Iterable[type[Evidence]]) -> Recording:
        """Return evidence and traces for `asked`, in that order, repeats allowed."""
        shards = sorted({self.places[q].shard for q in asked})
        parts = [read_shard(shard, kinds) for shard in shards]
        starts: dict[Path, int] = {}
        total = 0
        for shard, part in zip(shards, parts, strict=True):
            starts[shard] = total
            total += len(part.traces)
        rows = [starts[p.shard] + p.row for p in map(self.places.__getitem__, asked)]
        traces = [trace for part in parts for trace in part.traces]
        return Recording(
            evidence={
                kind: kind.concat([part.evidence[kind] for part in parts]).take(rows)
                for kind in kinds
            },
            traces=[traces[row] for row in rows],
            peak_memory_mib=max(
                (part.peak_memory_mib or 0.0 for part in parts), default=0.0
            ),
        )


@dataclass(frozen=True, slots=True)
class Description:
    """Who recorded the evidence under a key: the request and the model's facts."""

    key: str
    request: dict[str, Any]
    facts: dict[str, Any]

    def write(self, root: Path) -> None:
        """Write the description beside the evidence, once."""
        path = root / self.key / DESCRIPTION
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"request": self.request, "facts": self.facts})

    @classmethod
    def all(cls, root: Path) -> Iterator[Self]:
        """Read every description under a run's evidence folder."""
        for path in sorted(root.glob(f"*/{DESCRIPTION}")):
            stored = json.loads(path.read_text(encoding="utf-8"))
            yield cls(path.parent.name, stored["request"], stored["facts"])
