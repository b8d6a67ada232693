"""Run folders: find those that a command names, and read their results."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safebench.errors import RunFolderError, UnknownNameError, did_you_mean

from .rows import RESULTS_FILE, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .rows import Row

RUNS_FOLDER = Path("runs")


def read_runs(paths: Sequence[str | Path], root: Path = RUNS_FOLDER) -> list[Row]:
    """Return the rows of the runs named, or of every run below `root`.

    Raises `RunFolderError` if there is none.
    """
    files = results_files(paths, root)
    if not files:
        raise RunFolderError(
            f"no finished run in {str(root)!r}: `safebench run` makes one, "
            "or name a run folder"
        )
    names = run_names([file.parent for file in files])
    return [
        replace(row, run=name) if file.name == RESULTS_FILE else row
        for file, name in zip(files, names, strict=True)
        for row in read_rows(file)
    ]


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return what tables call these run folders: names, or paths where two are equal.

    A folder may have been renamed or copied since its rows were written.
    """
    names = [Path(os.path.realpath(folder)).name for folder in folders]
    return [
        name if names.count(name) == 1 else folder.as_posix()
        for name, folder in zip(names, folders, strict=True)
    ]


def results_files(paths: Sequence[str | Path], root: Path = RUNS_FOLDER) -> list[Path]:
    """Return the results files of the runs named, each once; of all below `root`.

    A name is a run folder, a folder of run folders, a results file, or the name of a
    folder below `root`.
    """
    files = [file for path in paths for file in _results_files_at(Path(path), root)]
    if not paths:
        files = _results_files_below(root)
    # Two names may lead to one file. Not `resolve`: it raises for links in a circle.
    return list({os.path.realpath(file): file for file in files}.values())


def _results_files_at(path: Path, root: Path) -> list[Path]:
    """Return the results files that one argument stands for."""
    if not path.exists():
        path = _find_below(path, root)
    if path.is_file():
        return [path]
    if (path / RESULTS_FILE).is_file():
        return [path / RESULTS_FILE]
    if files := _results_files_below(path):
        return files
    raise RunFolderError(
        f"no {RESULTS_FILE} in {str(path)!r}: the run has not finished, or it is no "
        "run folder; the same `safebench run` again finishes it"
    )


def _find_below(path: Path, root: Path) -> Path:
    """Return a run named without its root, or refuse with the nearest name."""
    if not path.is_absolute() and (root / path).exists():
        return root / path
    beside = {str(file.parent): file for file in _results_files_below(path.parent)}
    runs = {file.parent.name: file for file in _results_files_below(root)}
    hint = did_you_mean(str(path), beside) or did_you_mean(path.name, runs)
    raise UnknownNameError(
        f"no run folder or results file {str(path)!r}"
        + (hint or "; `safebench run` makes one")
    )


def _results_files_below(folder: Path) -> list[Path]:
    """Return the results files of the run folders in a folder, by name."""
    if folder.is_dir():
        next(folder.iterdir(), None)  # raises where `glob` would find nothing
    return sorted(folder.glob(f"*/{RESULTS_FILE}"))
