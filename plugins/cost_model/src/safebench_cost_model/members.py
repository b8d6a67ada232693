"""The networks of one training: where each stands, its seed, and what it measured."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import ModelError
from safebench.training.process import is_main_process

from .layout import CHECKPOINTS, FACTS, place
from .whole import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from safebench.training import Training

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of `total` networks, counted from 1; alone it stands in `out` itself."""

    number: int
    total: int
    seed: int
    out: Path
    files: str

    @property
    def name(self) -> str:
        """What its measures are called."""
        return f"member {self.number}"

    @property
    def title(self) -> str:
        """What its bar of progress is called."""
        return f"{self.name}/{self.total}" if self.total > 1 else "training"

    @property
    def before(self) -> str:
        """What its lines of progress start with; nothing for one alone."""
        return f"{self.title}: " if self.total > 1 else ""

    @property
    def folder(self) -> Path:
        """Where its weights and, until it is finished, its checkpoints stand."""
        return self.out / place(self.number, self.total)

    @property
    def weights(self) -> Path:
        """The folder of its weights; it is there if and only if it is finished."""
        return self.folder / self.files

    @property
    def finished(self) -> bool:
        """Tell whether there is nothing left to train."""
        return self.weights.is_dir()

    def keep(
        self, save: Callable[[Path], None], costs: Mapping[str, Array], **facts: Any
    ) -> None:
        """Leave weights, costs and more facts, all at once.

        In a launched group, the main process alone writes.
        """
        if not is_main_process():
            return
        content = {
            "seed": self.seed,
            **facts,
            "costs": {part: values.tolist() for part, values in costs.items()},
        }
        with whole(self.weights) as part:
            save(part)
            text = json.dumps(content)
            (part / FACTS).write_text(text + "\n", encoding="utf-8")

    def costs(self) -> dict[str, Array]:
        """Return the costs (N, 2) of each part that it was measured on."""
        path = self.weights / FACTS
        try:
            costs = json.loads(path.read_text(encoding="utf-8"))["costs"]
            return {part: np.array(values) for part, values in costs.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ModelError(
                f"{path} is damaged: remove {self.weights}, and train again with "
                "--resume"
            ) from None

    def tidy(self) -> None:
        """Remove the checkpoints of a finished member."""
        if is_main_process():
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)


def members_of(training: Training, files: str) -> list[Member]:
    """Return the members that a training asks for; `files` is what they leave."""
    total = training.options.members
    return [
        Member(
            number=i + 1,
            total=total,
            seed=training.seed + i,
            out=training.out,
            files=files,
        )
        for i in range(total)
    ]
