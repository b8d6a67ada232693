"""Which columns of a cache are still needed, and how to gather them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]


class Kept(NamedTuple):
    """The rows of a cache (R,) that are kept, and their columns (R, T) in new order.

    Of a row's columns the first `used` (R,) matter; the others hold anything.
    `place` (rows, T_old) is the new column of each old one that is used.
    """

    rows: Array
    columns: Array
    used: Array
    place: Array


def used_columns(rows: Array, used: Array) -> Kept:
    """Keep `rows` (indices), and of each the columns that `used` (rows, T) names."""
    place = np.cumsum(used, axis=1) - 1
    count = used[rows].sum(axis=1)
    order = np.argsort(~used[rows], axis=1, kind="stable")
    return Kept(rows, order[:, : count.max(initial=0)], count, place)


def moved(mask: Array, kept: Kept, width: int) -> Array:
    """Return what a mask (rows, T_old) says of the kept columns, (R, width)."""
    out = np.zeros((len(kept.rows), width), dtype=bool)
    found = np.take_along_axis(mask[kept.rows], kept.columns, axis=1)
    out[:, : found.shape[1]] = found
    out[np.arange(width) >= kept.used[:, None]] = False
    return out


def picked(states: torch.Tensor, kept: Kept, width: int, skip: int = 0) -> torch.Tensor:
    """Return the kept rows and columns (R, width - skip, H, d) of (B, T, H, d).

    Columns that a row does not use hold zeros. The first `skip`, which all rows use,
    are none of `states`.
    """
    rows = torch.from_numpy(kept.rows).to(states.device)
    columns = torch.from_numpy(kept.columns[:, skip:] - skip).to(states.device)
    out = states.new_zeros(len(rows), width - skip, *states.shape[2:])
    out[:, : columns.shape[1]] = states[rows[:, None], columns]
    count = torch.from_numpy(kept.used - skip).to(states.device)
    out[torch.arange(width - skip, device=states.device) >= count[:, None]] = 0
    return out
