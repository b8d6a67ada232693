"""Selection of predictions to compare: what two names stand for, in pairs."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from safebench.errors import (
    RunFolderError,
    UnknownNameError,
    did_you_mean,
    unknown_name,
)

from .prediction_reading import prediction_files, read_combination_key
from .rows import RESULTS_FILE
from .run_files import PREDICTIONS_FOLDER
from .runs import RUNS_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .prediction_reading import PredictionFile

_MAX_SHOWN = 20  # names in one message


def select_pairs(
    a: str, b: str, runs: Sequence[str | Path] = (), root: Path = RUNS_FOLDER
) -> list[tuple[PredictionFile, PredictionFile]]:
    """Return pairs of files on the same dataset, of what `a` and of what `b` names.

    A name is CLASSIFIER/STRATEGY or one of both, where that says it, in one of `runs`
    (without any: all below `root`); or a run folder, alone or before such a name. A
    calibrated score is STRATEGY+CALIBRATOR; without it the raw one is meant.
    Several strategies on both sides are paired by their labels. Raises
    UnknownNameError and RunFolderError.
    """
    files_a, files_b = (named_files(name, runs, root) for name in (a, b))
    pairs = _pair_up(files_a, files_b)
    if not pairs:
        raise UnknownNameError(_cannot_pair(a, files_a, b, files_b))
    same_dataset = [
        (left, right)
        for lefts, rights in pairs
        for left in lefts
        for right in rights
        if left.dataset == right.dataset and left.path != right.path
    ]
    if not same_dataset:
        raise RunFolderError(_no_shared_dataset(a, files_a, b, files_b))
    return same_dataset


def files_of_run(
    run: str | Path,
    of: str = "",
    datasets: Sequence[str] = (),
    root: Path = RUNS_FOLDER,
) -> list[PredictionFile]:
    """Return the files of a run: all, or those that `of` names on some datasets.

    `of` is CLASSIFIER/STRATEGY, or one of both; a dataset is named as tables do
    (``name:config:split``) or by its name alone. Raises UnknownNameError and
    RunFolderError.
    """
    folder = predictions_folder(Path(run), root)
    # not by `named_files`: a run folder may be called as a classifier is
    files = _matching(prediction_files(folder), of)
    keys = {file.path: read_combination_key(file.path) for file in files}
    labels = {
        path: {
            key.dataset,
            ":".join(filter(None, (key.dataset, key.config, key.split))),
        }
        for path, key in keys.items()
    }
    names = {path: {n.casefold() for n in known} for path, known in labels.items()}
    for name in datasets:
        if not any(name.casefold() in known for known in names.values()):
            there = {label for known in labels.values() for label in known}
            raise unknown_name("dataset in this run", name, there)
    wanted = {name.casefold() for name in datasets}
    return [file for file in files if not wanted or wanted & names[file.path]]


def named_files(
    name: str, runs: Sequence[str | Path] = (), root: Path = RUNS_FOLDER
) -> list[PredictionFile]:
    """Return the files that a name stands for: at least one."""
    folder, rest = _split(name, root)
    if folder is not None:
        files = prediction_files(folder)
    else:
        folders = [predictions_folder(Path(run), root) for run in runs]
        folders = folders or _run_folders_below(root)
        files, rest = [f for run in folders for f in prediction_files(run)], name
    matches = _matching(files, rest, name)
    return _require_one_run(name, matches) if rest else matches


def _matching(
    files: list[PredictionFile], rest: str, name: str = ""
) -> list[PredictionFile]:
    """Return the files that `rest` names: at least one; `name` is how it was typed."""
    if not rest:
        return files
    # the whole label first: a strategy may be called as a classifier is
    naming: tuple[Callable[[PredictionFile], str], ...] = (
        lambda file: file.label,
        lambda file: file.method,
        lambda file: file.classifier,
    )
    for name_of in naming:
        matches = [f for f in files if name_of(f).casefold() == rest.casefold()]
        if matches:
            return matches
    known = {name_of(file): None for name_of in naming for file in files}
    raise UnknownNameError(
        f"no predictions {name or rest!r}{did_you_mean(rest, known)}\n"
        f"  there is: {label_list(files)}"
    )


def _split(name: str, root: Path) -> tuple[Path | None, str]:
    """Return the run folder that a name starts with, and the rest."""
    path = Path(name)
    for parent in (path, *path.parents):
        for folder in (parent, root / parent):
            if (folder / PREDICTIONS_FOLDER).is_dir():
                rest = path.relative_to(parent)
                return folder, "" if rest == Path() else rest.as_posix()
    return None, name


def predictions_folder(path: Path, root: Path) -> Path:
    """Return a run folder that has predictions, or refuse with the nearest name."""
    for folder in (path, root / path):
        if (folder / PREDICTIONS_FOLDER).is_dir():
            return folder
    for folder in (path, root / path):
        if (folder / RESULTS_FILE).is_file():
            raise RunFolderError(
                f"no predictions in {str(folder)!r}: run again without "
                "`--predictions none`, the evidence is re-used"
            )
    there = [folder.name for folder in _run_folders_below(root)]
    hint = did_you_mean(path.name, there) or "; `safebench run` makes one"
    raise RunFolderError(f"no predictions in {str(path)!r}{hint}")


def _run_folders_below(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob(f"*/{PREDICTIONS_FOLDER}"))


def _require_one_run(name: str, files: list[PredictionFile]) -> list[PredictionFile]:
    runs = sorted({str(file.run) for file in files})
    if len(runs) > 1:
        names = ", ".join(f"{run}/{name}" for run in runs[:_MAX_SHOWN])
        raise UnknownNameError(f"{name!r} is in {len(runs)} runs; say {names}")
    return files


def _pair_up(
    files_a: list[PredictionFile], files_b: list[PredictionFile]
) -> list[tuple[list[PredictionFile], list[PredictionFile]]]:
    """Pair two combinations, or several by the labels that they share."""
    # from the loosest pairing that leaves no choice to the strictest
    ways: tuple[Callable[[PredictionFile], str], ...] = (
        lambda _: "",
        lambda file: file.method,
        lambda file: file.label,
    )
    for key_of in ways:
        left, right = _group_by(files_a, key_of), _group_by(files_b, key_of)
        unambiguous = all(
            len({file.label for file in files}) == 1
            for side in (left, right)
            for files in side.values()
        )
        if unambiguous and (both := [key for key in left if key in right]):
            return [(left[key], right[key]) for key in both]
    return []


def _group_by(
    files: list[PredictionFile], key_of: Callable[[PredictionFile], str]
) -> dict[str, list[PredictionFile]]:
    groups: dict[str, list[PredictionFile]] = defaultdict(list)
    for file in files:
        groups[key_of(file)].append(file)
    return groups


def _cannot_pair(
    a: str, files_a: list[PredictionFile], b: str, files_b: list[PredictionFile]
) -> str:
    return (
        f"{a!r} and {b!r} do not say which two to compare: name CLASSIFIER/STRATEGY\n"
        f"  {a!r} holds: {label_list(files_a)}\n  {b!r} holds: {label_list(files_b)}"
    )


def _no_shared_dataset(
    a: str, files_a: list[PredictionFile], b: str, files_b: list[PredictionFile]
) -> str:
    datasets_a, datasets_b = (
        sorted({file.dataset for file in files}) for files in (files_a, files_b)
    )
    if set(datasets_a) & set(datasets_b):
        return f"{a!r} and {b!r} are the same predictions: name two that differ"
    return (
        f"no dataset that both ran on: {a!r} has {', '.join(datasets_a)}; "
        f"{b!r} has {', '.join(datasets_b)}"
    )


def label_list(files: list[PredictionFile]) -> str:
    """Return what files are called, for a message: each name once, and the first."""
    labels = list(dict.fromkeys(file.label for file in files))
    text = ", ".join(labels[:_MAX_SHOWN]) or "nothing"
    if len(labels) > _MAX_SHOWN:
        text += f", ... and {len(labels) - _MAX_SHOWN} more"
    return text
