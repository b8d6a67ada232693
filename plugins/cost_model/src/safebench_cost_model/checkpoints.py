"""Where an interrupted training goes on, told to whoever waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.neural.checkpoints import last_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def resumed_from(
    folder: Path, *, resume: bool, say: Callable[[str], None]
) -> str | None:
    """Return the checkpoint to go on from, None to start afresh; say which it is."""
    last = last_checkpoint(folder) if resume else None
    if last is None:
        return None
    say(f"resuming from {last}")
    return str(last)
