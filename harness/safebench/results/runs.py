"""Find the runs that a command is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safebench.errors import RunFolderError, UnknownNameError, nearest

from .store import FILE_NAME, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .row import Row

RUNS = Path("runs")


def resolve_runs(paths: Sequence[str | Path], root: Path = RUNS) -> list[Row]:
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
        replace(row, run=name) if file.name == FILE_NAME else row
        for file, name in zip(files, names, strict=True)
        for row in read_rows(file)
    ]


def run_names(folders: Sequence[Path]) -> list[str]:
    """Return what tables call these run folders: their names, told apart by paths.

    A folder may have been renamed or copied since its rows were written.
    """
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else folder.as_posix()
        for name, folder in zip(names, folders, strict=True)
    ]


def results_files(paths: Sequence[str | Path], root: Path = RUNS) -> list[Path]:
    """Return the results files of the runs named, each once; of all below `root`.

    A name is a run folder, a folder of run folders, a results file, or the name of a
    folder below `root`.
    """
    found = [file for path in paths for file in _named(Path(path), root)]
    files = found if paths else _below(root)
    return list({file.resolve(): file for file in files}.values())


def _named(path: Path, root: Path) -> list[Path]:
    """Return the results files that one argument stands for."""
    if not path.exists():
        path = _below_root(path, root)
    if path.is_file():
        return [path]
    if (path / FILE_NAME).is_file():
        return [path / FILE_NAME]
    if files := _below(path):
        return files
    raise RunFolderError(
        f"no {FILE_NAME} in {str(path)!r}: the run has not finished, or it is no run "
        "folder; the same `safebench run` again finishes it"
    )


def _below_root(path: Path, root: Path) -> Path:
    """Return a run named without its root, or refuse with the nearest name."""
    if not path.is_absolute() and (root / path).exists():
        return root / path
    beside = {str(file.parent): file for file in _below(path.parent)}
    runs = {file.parent.name: file for file in _below(root)}
    hint = nearest(str(path), beside) or nearest(path.name, runs)
    raise UnknownNameError(
        f"no run folder or results file {str(path)!r}"
        + (hint or "; `safebench run` makes one")
    )


def _below(folder: Path) -> list[Path]:
    """Return the results files of the run folders in a folder, by name."""
    return sorted(folder.glob(f"*/{FILE_NAME}"))
