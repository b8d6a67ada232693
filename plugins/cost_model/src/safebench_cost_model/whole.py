"""A folder that is there whole or not at all, however its writing ends."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, which takes the name of `folder` at the end."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a writing that was interrupted
    part.mkdir(parents=True)
    yield part
    part.rename(folder)
