"""Arrays in ``.npz`` files, read without pickle, which runs code when it is read.

Needs no torch.
"""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.typing import Array

_MAX_RATIO = 1000  # of the size of the arrays to that of their file
_READ_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    SyntaxError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def load_arrays(path: Path, *names: str) -> dict[str, Array]:
    """Return the named arrays of a file, all finite numbers.

    Raises `ModelError`, in one line, for a file that is missing, cut, damaged, no
    ``.npz``, or lacks one of the names.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_RATIO * max(path.stat().st_size, 1):
            raise ModelError(f"{path} would unpack to {size >> 20} MiB: train it again")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in names}
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelError(
            f"{path} cannot be read ({reason}): copy it again, or train it again"
        ) from None
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise ModelError(
                f"{path}: {name} holds what is no finite number: copy it again, or "
                "train it again"
            )
    return arrays
