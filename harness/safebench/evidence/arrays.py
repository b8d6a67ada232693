"""Arrays that come from plugins and go to plugins: never repaired, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from safebench.typing import Array

TOLERANCE = 1e-5  # by which float32 may leave [0, 1]: sums of a whole vocabulary


def convert(values: Any, dtype: str, where: str) -> Array:
    """Return values as an array of `dtype`; raises TypeError where one would be lost.

    numpy drops imaginary parts, reads numbers out of texts, wraps integers and cuts
    fractions. What was recorded would then be something else than what is stored.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{where}: a masked array; write NaN where there is no value")
    raw: Array = np.asarray(values)
    target = np.dtype(dtype)
    if raw.dtype == target:
        return raw
    if raw.dtype.kind not in "biuf":
        raise TypeError(f"{where}: an array of {raw.dtype}, not of {dtype}")
    # Numpy's warnings name no field; what whole numbers lose is refused below.
    with np.errstate(invalid="ignore", over="ignore"):
        converted = raw.astype(target)
        if target.kind in "biu" and not np.array_equal(converted, raw):
            raise TypeError(f"{where}: values of {raw.dtype} that {dtype} cannot hold")
    return converted


def read_only(array: Array) -> Array:
    """Return a view that nobody can write to, not even after setting its flag."""
    # Of a read-only buffer: the flag of an ordinary view can be set back.
    view: Array = np.asarray(array.data.toreadonly())
    return view


def freeze(value: Any) -> None:
    """Make an array, those of a tuple or list, or an object's own ones read-only."""
    if isinstance(value, (tuple, list)):
        items: Any = value
    else:
        items = (value, *getattr(value, "__dict__", {}).values())
    for item in items:
        if isinstance(item, np.ndarray):
            item.setflags(write=False)


def outside_unit(values: Array) -> str | None:
    """Return what is outside [0, 1], such as ``2.0``; None for nothing. NaN is not."""
    inside = (values >= -TOLERANCE) & (values <= 1 + TOLERANCE)
    wrong = values[~(inside | np.isnan(values))]
    return f"{wrong.flat[0]:.6g}" if wrong.size else None
