"""Write plots as PNG files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figures import figures

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.analysis import Analysis

DPI = 160


def write_plots(analysis: Analysis, folder: Path) -> list[Path]:
    """Write every picture of an analysis into a folder, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for drawn in figures(analysis):
        path = folder / f"{drawn.name}.png"
        drawn.figure.savefig(path, dpi=DPI, metadata={"Description": drawn.alt})
        written.append(path)
    return written
