"""What to analyze: the run folder, which of its combinations, how much of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from safebench.errors import RunFolderError, did_you_mean
from safebench.results.runs import RUNS_FOLDER

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRequest:
    """Which combinations to analyze (no names: all), and how much of each to show.

    `n_examples` bounds every list of single samples; their texts are left out unless
    `include_text`. `always_detailed` keeps slices and samples however many
    combinations there are, `gaps` adds the gaps between slices. `data_root` is where
    local copies of hub datasets lie. `reviewed`: by the labels that reviewers marked.
    """

    classifiers: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    part: str = "test"
    slice_columns: tuple[str, ...] = ()
    n_examples: int = 10
    include_text: bool = False
    data_root: str | None = None
    always_detailed: bool = False
    gaps: bool = False
    reviewed: bool = False


def find_run(path: Path) -> Path:
    """Return a run folder, also by its name below ``runs``; it must have predictions.

    Raises RunFolderError with what would work.
    """
    folder = path
    # What lies here is what is meant; the run of that name only where nothing does.
    if not path.exists() and not path.is_absolute() and (RUNS_FOLDER / path).is_dir():
        folder = RUNS_FOLDER / path
    if not folder.is_dir():
        names = [p.name for p in RUNS_FOLDER.glob("*/")] if RUNS_FOLDER.is_dir() else []
        hint = did_you_mean(path.name, names) or "; `safebench run` makes one"

        raise RunFolderError(f"no run folder {str(path)!r}{hint}")
    if not (folder / "predictions").is_dir():
        raise RunFolderError(
            f"no predictions in {folder}: run again without `--predictions none`"
        )
    return folder
