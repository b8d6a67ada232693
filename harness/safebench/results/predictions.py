"""Stored predictions in columns: one classifier x strategy on one dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.record_columns import PackedTexts

from .packed_columns import GroupNames, select_values

if TYPE_CHECKING:
    from safebench.typing import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMetadata:
    """What a dataset says of one sample: its group, columns, text and their length.

    `length` counts the characters of all turns. A column that a row has but leaves
    empty is in `meta` as None.
    """

    group: str
    meta: dict[str, Any]
    text: str
    length: int


class MetadataColumns(Sequence[SampleMetadata]):
    """Metadata of many samples, of which some is known of all without their texts."""

    @property
    def columns(self) -> Sequence[dict[str, Any]]:
        """The columns of each sample, as in `SampleMetadata.meta`."""
        raise NotImplementedError

    @property
    def lengths(self) -> Array:
        """The characters of each sample's turns, (n,) int."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredCells:
    """The cells (sample, category) of n samples and L categories, whose codes `labels`.

    `truth` (n, L) is 1 or 0, NaN where unknown; `score` and `named` (n, L) are what the
    guard says, NaN where it says nothing, `named` as 1 or 0.
    """

    labels: tuple[str, ...]
    truth: Array
    score: Array
    named: Array

    def select(self, rows: Array) -> StoredCells:
        """Return some of the samples, in the order of `rows`."""
        return StoredCells(
            labels=self.labels,
            truth=self.truth[rows],
            score=self.score[rows],
            named=self.named[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredPredictions:
    """One classifier x strategy x dataset, the n samples of a part with a known label.

    `y` (n,) bool; `decision`, `score`, `uncertainty` and the score's bounds, `lower`
    and `upper`, (n,) float, NaN where there is none; `tokens` (n,) int, the template's
    included. `errors` says why a sample has no judgement. `threshold` is that of the
    decisions, `probability` whether the score claims to be one. `metadata` is what the
    dataset says of each sample, None where it could not be read again; `columns` are
    the short values of it that were stored, None for what was stored without.
    `sample_datasets` names the dataset of each sample: more than one after
    `pool_predictions`. `group` is empty for what was stored without it. `severity` (n,)
    is NaN where nobody noted it, `pair` names a sample's pair and its side, and `cells`
    are those of categories, None where the truth of none is known.
    """

    classifier: str
    model: str
    strategy: str
    dataset: str
    task: str
    ids: Sequence[str]
    content: Sequence[str]
    sample_datasets: Sequence[str]
    categories: Sequence[frozenset[str] | None]
    errors: Sequence[str | None]
    y: Array
    decision: Array
    score: Array
    uncertainty: Array
    lower: Array
    upper: Array
    tokens: Array
    severity: Array
    pair: Sequence[tuple[str, str] | None]
    cells: StoredCells | None = None
    threshold: float | None = None
    probability: bool = False
    metadata: Sequence[SampleMetadata | None] = ()
    columns: Sequence[dict[str, Any] | None] = ()
    group: Sequence[str] = ()
    calibrator: str | None = None

    @property
    def method(self) -> str:
        """The strategy with its calibrator: ``strategy[+calibrator]``."""
        return "+".join(filter(None, (self.strategy, self.calibrator)))

    @property
    def n(self) -> int:
        """Number of samples with a known label, failed ones included."""
        return len(self.y)

    @property
    def name(self) -> str:
        """What tables call it: ``classifier/strategy[+calibrator] on dataset``."""
        return f"{self.classifier}/{self.method} on {self.dataset}"

    @property
    def judged(self) -> Array:
        """Which samples have a decision, (n,) bool."""
        judged: Array = ~np.isnan(self.decision)
        return judged

    @property
    def wrong(self) -> Array:
        """Which samples were judged and decided against their label, (n,) bool."""
        decided: Array = np.nan_to_num(self.decision).astype(bool)
        wrong: Array = self.judged & (decided != self.y)
        return wrong

    @property
    def sample_columns(self) -> list[dict[str, Any] | None]:
        """What came along with each sample, None if unknown.

        As read again with the dataset, which has all; else as it was stored.
        """
        if isinstance(self.metadata, MetadataColumns):
            return [*self.metadata.columns]
        metadata = self.metadata or (None,) * self.n
        columns = self.columns or (None,) * self.n
        pairs = zip(metadata, columns, strict=True)
        return [known.meta if known else stored for known, stored in pairs]

    @property
    def groups(self) -> GroupNames:
        """What belongs together: stored groups, else the dataset's, else equal texts.

        Early versions stored no group.
        """
        if len(self.group):
            return GroupNames(self.group)
        if not len(self.metadata):
            return GroupNames(self.content)
        pairs = zip(self.metadata, self.content, strict=True)
        return GroupNames(
            PackedTexts.of(
                known.group if known else content for known, content in pairs
            )
        )

    def select(self, rows: Sequence[int] | Array) -> StoredPredictions:
        """Return some of the samples, in the order of `rows`."""
        places = np.asarray(rows, dtype=np.int64)
        chosen: dict[str, Any] = {
            name: select_numbers(getattr(self, name), places) for name in _ARRAYS
        }
        for name in (*_TUPLES, "group", "metadata", "columns"):
            chosen[name] = select_values(getattr(self, name), places)
        chosen["cells"] = None if self.cells is None else self.cells.select(places)
        return replace(self, **chosen)


# the columns of `StoredPredictions`, one entry a sample
_ARRAYS = (
    *("y", "decision", "score", "uncertainty", "lower", "upper", "tokens"),
    "severity",
)
_TUPLES = ("ids", "content", "sample_datasets", "categories", "errors", "pair")


def select_numbers(column: Array, rows: Array) -> Array:
    """Return some values of a column; one that repeats a value takes no memory."""
    if column.strides == (0,) and len(column):
        return np.broadcast_to(column[0], len(rows))
    return column[rows]


def pool_predictions(parts: Sequence[StoredPredictions]) -> StoredPredictions:
    """Join predictions of one classifier and strategy on several datasets.

    They must share task and threshold, as decisions of one rule do. Categories are left
    out: those of several datasets need not be the same.
    """
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _ARRAYS
    }
    joined |= {
        name: tuple(value for part in parts for value in getattr(part, name))
        for name in _TUPLES
    }
    with_groups = all(len(part.group) for part in parts)
    return replace(
        parts[0],
        dataset=f"all {len(parts)} sets",
        probability=all(part.probability for part in parts),
        metadata=tuple(
            known for part in parts for known in part.metadata or (None,) * part.n
        ),
        columns=tuple(
            known for part in parts for known in part.columns or (None,) * part.n
        ),
        group=tuple(g for part in parts for g in part.group) if with_groups else (),
        cells=None,
        **joined,
    )
