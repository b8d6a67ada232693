"""What a large dataset says of the samples of predictions, read when it is looked at.

Its texts stay in the file that its records are kept in; a few of them are shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np

from safebench.datasets.sample_columns import sample_columns
from safebench.results.predictions import MetadataColumns, SampleMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from safebench.records import Dataset, GroundTruth, Sample
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

    Make = Callable[[Sample, dict[str, Any]], SampleMetadata]

_AT_ONCE = 1024


class LargeMetadata(MetadataColumns):
    """The metadata of the samples in `rows` of a dataset, made by `make`."""

    def __init__(self, dataset: Dataset, rows: Array, make: Make) -> None:
        self._dataset, self._rows, self._make = dataset, rows, make
        self._known: list[dict[str, Any]] | None = None
        # without columns all that differs is the number of turns: few different ones
        self._shared: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def columns(self) -> Sequence[dict[str, Any]]:
        """What came along with each sample; read once, since slices ask often."""
        if self._known is None:
            of_dataset = self._dataset.columns
            if of_dataset.described:
                self._known = [sample.meta for sample in self]
            else:
                n_turns = of_dataset.n_turns[self._rows].tolist()
                self._known = [self._of_turns(n) for n in n_turns]
        return self._known

    @property
    def lengths(self) -> Array:
        """The characters of each sample's turns."""
        length: Array = self._dataset.columns.length[self._rows]
        return length

    @overload
    def __getitem__(self, index: int) -> SampleMetadata: ...
    @overload
    def __getitem__(self, index: slice) -> list[SampleMetadata]: ...
    def __getitem__(self, index: int | slice) -> SampleMetadata | list[SampleMetadata]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        row = int(self._rows[index])
        return self._metadata(
            self._dataset.samples[row], self._dataset.ground_truth[row]
        )

    def __iter__(self) -> Iterator[SampleMetadata]:
        samples, truths = self._dataset.samples, self._dataset.ground_truth
        for start in range(0, len(self), _AT_ONCE):
            rows = self._rows[start : start + _AT_ONCE]
            first, last = int(rows.min()), int(rows.max()) + 1
            if last - first > 8 * len(rows):  # far apart: read one by one
                yield from (self[start + place] for place in range(len(rows)))
                continue
            block = list(zip(samples[first:last], truths[first:last], strict=True))
            yield from (self._metadata(*block[row - first]) for row in rows.tolist())

    def select(self, rows: Sequence[int]) -> LargeMetadata:
        """Return the metadata of some samples."""
        chosen = self._rows[np.asarray(rows, dtype=np.int64)]
        return LargeMetadata(self._dataset, chosen, self._make)

    def _metadata(self, sample: Sample, truth: GroundTruth) -> SampleMetadata:
        if self._dataset.columns.described:
            return self._make(sample, sample_columns(sample, truth))
        return self._make(sample, self._of_turns(len(sample.turns)))

    def _of_turns(self, n: int) -> dict[str, Any]:
        """Return the columns of a sample with which nothing came along."""
        return self._shared.setdefault(n, {"turns": n})


def match_in_order(
    dataset: Dataset, predictions: StoredPredictions, make: Make
) -> LargeMetadata | None:
    """Return the metadata of all predictions, in whose order the dataset has them too.

    None if one is not there, or has another text now.
    """
    columns = dataset.columns
    stored = zip(predictions.ids, predictions.content, strict=True)
    wanted = next(stored, None)
    rows = []
    for row, known in enumerate(zip(columns.ids, columns.hex_contents(), strict=True)):
        if known == wanted:
            rows.append(row)
            wanted = next(stored, None)
    if wanted is not None or len(rows) != predictions.n:
        return None
    return LargeMetadata(dataset, np.array(rows, dtype=np.int64), make)
