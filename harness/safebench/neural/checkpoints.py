"""Which checkpoint an interrupted training goes on from: the last one that is whole.

An interruption may come while a checkpoint is written; the library would fail on it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

if TYPE_CHECKING:
    from pathlib import Path


def last_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint after most steps that is whole; None if there is none."""
    steps = {
        step: path
        for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (step := _step(path)) is not None
    }
    return steps[max(steps)] if steps else None


def _step(checkpoint: Path) -> int | None:
    """Return how many steps a checkpoint is after; None if it is not whole.

    Its state is what is written last.
    """
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text("utf-8"))
        return int(state["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
