"""Fill the sentence frames of contrast.toml: harmless and harmful twins."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from tiny_guard.rows import TrainingRow

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def contrast_pairs(path: Path) -> Iterator[TrainingRow]:
    """Every frame with every filler; harmful rows carry no category when two fit."""
    frames = tomllib.loads(path.read_text(encoding="utf-8"))["frame"]
    for frame in frames:
        codes = tuple(frame["codes"])
        # Two codes mean "one of them, by filler": too coarse to teach a category.
        known = codes if len(codes) == 1 else None
        for say in frame["say"]:
            for filler in frame["safe"]:
                yield TrainingRow("contrast", say.replace("{x}", filler), None, False)
            for filler in frame["unsafe"]:
                prompt = say.replace("{x}", filler)
                yield TrainingRow("contrast", prompt, None, True, known)
