"""Groups of neighbouring rows that attend together: where a batch's padding ends.

A batch of ragged rows is as wide as its widest, and most of what it computes is
padding. Groups of a few rows are as wide as theirs; a group costs a call of the kernel,
so that each is given enough to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.typing import Array

# Pairs of a query and a column, padding included, for which a call is worth its cost:
# about a millisecond of them on one thread.
PAIRS_A_GROUP = 1 << 15


@dataclass(frozen=True, eq=False)
class RowGroup:
    """Some rows R of a pass, with what their queries see of their own columns.

    `rows` are those of the batch, `tokens` their real queries among those of the pass,
    and `columns` what any of them sees. `row` and `slot` (n,) place each of the n real
    queries in (R, `width`), and `bias` (R, 1, width, T) is what its scores get.
    """

    rows: slice
    tokens: slice
    columns: slice
    row: torch.Tensor
    slot: torch.Tensor
    width: int
    bias: torch.Tensor

    @property
    def count(self) -> int:
        """How many rows they are."""
        return int(self.rows.stop - self.rows.start)

    @cached_property
    def _grouped_bias(self) -> dict[int, torch.Tensor]:
        return {}

    def bias_of(self, heads: int) -> torch.Tensor:
        """Return the bias (R, 1, width x heads, T) for query heads that share keys."""
        if heads not in self._grouped_bias:
            self._grouped_bias[heads] = self.bias.repeat_interleave(heads, dim=2)
        return self._grouped_bias[heads]


def whole_batch(real: Array, visible: Array, dtype: torch.dtype) -> list[RowGroup]:
    """Return one group of all rows; `real` (B, Q), `visible` (B, Q, T)."""
    row, slot = np.nonzero(real)
    everything = slice(0, len(real)), slice(0, len(row)), slice(0, visible.shape[2])
    return [_group(*everything, row, slot, real.shape[1], visible, dtype)]


def groups_of_rows(real: Array, visible: Array, dtype: torch.dtype) -> list[RowGroup]:
    """Return groups of neighbouring rows; those without a query are in none."""
    counts = real.sum(axis=1)
    ends = np.cumsum(counts)
    groups = []
    for start, stop in _cuts(counts, visible.shape[2]):
        row, slot = np.nonzero(real[start:stop])
        first, last = slot.min(), slot.max() + 1
        seen = visible[start:stop, first:last]
        in_use = np.flatnonzero(seen.any(axis=(0, 1)))
        columns = slice(int(in_use[0]), int(in_use[-1]) + 1)
        groups.append(
            _group(
                slice(start, stop),
                slice(int(ends[start] - counts[start]), int(ends[stop - 1])),
                columns,
                row,
                slot - first,
                int(last - first),
                seen[:, :, columns],
                dtype,
            )
        )
    return groups


def _cuts(counts: Array, columns: int) -> Iterator[tuple[int, int]]:
    """Yield where each group starts and stops, by the queries of every row (B,)."""
    start, widest = 0, 0
    for row, count in enumerate(counts.tolist()):
        if not count:
            if widest:
                yield start, row
            start, widest = row + 1, 0
            continue
        widest = max(widest, count)
        if (row + 1 - start) * widest * columns >= PAIRS_A_GROUP:
            yield start, row + 1
            start, widest = row + 1, 0
    if widest:
        yield start, len(counts)


def _group(
    rows: slice,
    tokens: slice,
    columns: slice,
    row: Array,
    slot: Array,
    width: int,
    visible: Array,
    dtype: torch.dtype,
) -> RowGroup:
    mask = torch.from_numpy(np.array(visible))
    bias = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, -torch.inf)
    return RowGroup(
        rows,
        tokens,
        columns,
        torch.from_numpy(row),
        torch.from_numpy(slot),
        width,
        bias[:, None],
    )
