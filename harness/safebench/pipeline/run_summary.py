"""What came of a run, for whoever asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from safebench.errors import ComponentError, ModelError, PluginError

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.errors import SafebenchError
    from safebench.results import Row


# of one classifier or strategy alone: the other parts of a run go on
PART_ERRORS = (ComponentError, ModelError, PluginError)


@dataclass(slots=True)
class RunSummary:
    """What a run did: its folder, rows, failed samples, and notes for the user.

    `errors` are those of parts that failed while the rest went on.
    """

    folder: Path
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    errors: list[SafebenchError] = field(default_factory=list)
    failure_limit_exceeded: bool = False

    def add_note(self, note: str) -> None:
        """Add a note, unless the same one is there from another dataset."""
        if note not in self.notes:
            self.notes.append(note)

    def add_error(self, error: SafebenchError) -> None:
        """Add the error of a part, unless another part failed in the same way."""
        if error.message not in [known.message for known in self.errors]:
            self.errors.append(error)
