"""A token budget far too large must end in smaller batches, with the same result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from guardspeed import tree_recording

from safebench.torch_utils import Batcher
from safebench.verdict_tree import TreeBounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    from .setup import Setup

FAR_TOO_LARGE = 1 << 40  # tokens
LEFT_GIB = 5  # of the device's memory: what one batch of all prompts cannot do with
_DRY_ROWS = 1  # that a CPU of a dry run is said to hold


class WatchedEngine:
    """Notes the rows of every batch that is tried, and which of them ran.

    `most_rows` is what a dry run has memory for.
    """

    def __init__(self, engine: Any, most_rows: int | None) -> None:
        self.engine, self.most_rows = engine, most_rows
        self.tried: list[int] = []
        self.ran: list[int] = []

    @property
    def meta(self) -> Any:
        """The engine's."""
        return self.engine.meta

    def explore(self, prompts: Sequence[Sequence[int]]) -> Any:
        """Explore a batch."""
        self.tried.append(len(prompts))
        if self.most_rows and len(prompts) > self.most_rows:
            raise torch.OutOfMemoryError("out of memory, says the dry run")
        explored = self.engine.explore(prompts)
        self.ran.append(len(prompts))
        return explored


def measure(setup: Setup) -> dict[str, Any]:
    """Return the batches that were tried and ran, and how far results moved.

    Most of the device's memory is taken first. Raises where nothing ran out.
    """
    setting = setup.guard(512)
    expected, _ = tree_recording.record(_engine(setting), setting)
    watched = WatchedEngine(_engine(setting), setup.pick(None, _DRY_ROWS))
    taken = None if setup.dry else _take_memory()
    batcher = Batcher(FAR_TOO_LARGE)
    tree, _ = tree_recording.record(watched, setting, batcher)  # type: ignore[arg-type]
    failures = len(watched.tried) - len(watched.ran)
    if not failures:
        raise RuntimeError(f"memory did not run out: {watched.tried} rows fitted")
    return {
        "prompts": len(setting.prompts),
        "gib_taken_before": None if taken is None else taken.numel() / 2**30,
        "budget": FAR_TOO_LARGE,
        "budget_in_the_end": batcher.budget,
        "rows_tried": watched.tried,
        "rows_that_ran": watched.ran,
        "failures": failures,
        **_differences(expected, tree),
    }


def _engine(setting: Any) -> Any:
    return tree_recording.explorer(setting, tree_recording.DEFAULT)


def _take_memory() -> torch.Tensor:
    """Hold the device's memory but for `LEFT_GIB`."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    size = max(0, free - LEFT_GIB * 2**30)
    return torch.empty(size, dtype=torch.uint8, device="cuda")


def _differences(expected: VerdictTree, tree: VerdictTree) -> dict[str, float | int]:
    """Return how far P(unsafe) moved, and how many decisions at 0.5 flipped."""
    a, b = _p_unsafe(expected), _p_unsafe(tree)
    return {
        "max_difference": float(np.abs(a - b).max()),
        "decisions_that_differ": int(((a >= 0.5) != (b >= 0.5)).sum()),  # noqa: PLR2004
    }


def _p_unsafe(tree: VerdictTree) -> Array:
    return TreeBounds(tree).level_bounds([False, True]).lower
