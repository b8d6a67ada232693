"""Tell whether a dataset still holds what a run folder was written for.

A name and a path do not say it: a file may be edited, or another one may bear its name.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from safebench.records import Dataset

DataChange = Literal["same", "extended", "other"]


@dataclass(frozen=True, slots=True)
class DataFingerprint:
    """The number of rows of a dataset and a SHA-256 (hex) over them, in their order."""

    rows: int
    sha256: str

    @classmethod
    def of(cls, dataset: Dataset, rows: int | None = None) -> DataFingerprint:
        """Return the fingerprint of a dataset, or of its first `rows` rows."""
        n = len(dataset) if rows is None else rows
        digest = hashlib.sha256()
        pairs: dict[str, int] = {}
        for row in range(n):
            digest.update(_row_bytes(dataset, row, pairs))
        return cls(n, digest.hexdigest())

    @classmethod
    def from_json(cls, value: Any) -> DataFingerprint | None:
        """Return a fingerprint as `to_json` wrote it, None for anything else."""
        if not isinstance(value, dict):
            return None
        rows, digest = value.get("rows"), value.get("sha256")
        if type(rows) is not int or rows < 0 or not isinstance(digest, str):
            return None
        return cls(rows, digest)

    def to_json(self) -> dict[str, Any]:
        """Return the fingerprint for a manifest."""
        return {"rows": self.rows, "sha256": self.sha256}

    def change_to(self, dataset: Dataset) -> DataChange:
        """Tell how `dataset` differs from the one that this fingerprint is of.

        "extended": the same rows are followed by others. "other": a row was changed,
        moved or removed, so that what was stored belongs to other rows.
        """
        if self.rows > len(dataset) or self != self.of(dataset, self.rows):
            return "other"
        return "same" if self.rows == len(dataset) else "extended"


def _row_bytes(dataset: Dataset, row: int, pairs: dict[str, int]) -> bytes:
    """Return all of a row that a verdict or a metric depends on.

    Exact texts, unlike `Sample.content`: a guard may answer otherwise where only the
    white space differs. Names that were made up by a reader stay out, so that files of
    pairs, whose pair ids change with every row, can be extended.
    """
    sample, truth = dataset.samples[row], dataset.ground_truth[row]
    pair = None
    if truth.pair is not None:
        pair = (pairs.setdefault(truth.pair[0], len(pairs)), truth.pair[1])
    label = truth.label
    content = (
        sample.id,
        [(turn.role, turn.text) for turn in sample.turns],
        (sample.task, sample.target % len(sample.turns), sample.group),
        (label.value, label.level, label.votes, label.weight),
        None if truth.categories is None else sorted(truth.categories),
        None if truth.known is None else sorted(truth.known),
        pair,
        truth.meta.get("severity"),
    )
    return json.dumps(content, default=str).encode() + b"\n"
