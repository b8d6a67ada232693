"""What a large dataset says of the samples of predictions, read when it is looked at.

Its texts stay in the file that its records are kept in; a few of them are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from safebench.datasets.sample_columns import sample_columns
from safebench.results.predictions import SampleMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safebench.records import Dataset, GroundTruth, Sample
    from safebench.results.predictions import StoredPredictions
    from safebench.typing import Array

    Make = Callable[[Sample, dict[str, Any]], SampleMetadata]

_AT_ONCE = 1024


class LargeMetadata(Sequence[SampleMetadata]):
    """The metadata of the samples in `rows` of a dataset, made by `make`."""

    def __init__(self, dataset: Dataset, rows: Array, make: Make) -> None:
        self._dataset, self._rows, self._make = dataset, rows, make
        # without columns all that differs is the number of turns: few different ones
        self._shared: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._rows)

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
        n_turns = len(sample.turns)
        columns = self._shared.get(n_turns)
        if columns is None:
            columns = self._shared[n_turns] = sample_columns(sample, truth)
        return self._make(sample, columns)


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
