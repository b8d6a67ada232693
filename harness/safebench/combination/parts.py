"""The parts of a combination: files of predictions by name, aligned by sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from safebench.errors import RunFolderError, UnknownNameError, did_you_mean
from safebench.results import RESULTS_FILE, Row, read_rows
from safebench.results.prediction_reading import combination_key
from safebench.results.run_files import PREDICTIONS_FOLDER
from safebench.results.runs import RUNS_FOLDER
from safebench.results.selection import label_list, named_files

from .rules import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.results.prediction_reading import PredictionFile, PredictionLine

    from .part_columns import PartColumns


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return those that are run folders by themselves, and the names of parts."""
    runs = [
        argument
        for argument in arguments
        if any(
            (folder / PREDICTIONS_FOLDER).is_dir()
            for folder in (Path(argument), RUNS_FOLDER / argument)
        )
    ]
    return runs, [argument for argument in arguments if argument not in runs]


def files_of_part(name: str, runs: Sequence[str]) -> dict[str, PredictionFile]:
    """Return the files that a name stands for by dataset: of one combination."""
    files = named_files(name, runs)
    raw = [file for file in files if file.calibrator is None]
    if len({file.label for file in files}) > 1 and name.casefold() in {
        file.classifier.casefold() for file in files
    }:
        files = raw  # calibrated scores have a name of their own
    if len({file.label for file in files}) > 1:
        raise UnknownNameError(
            f"{name!r} is more than one: name CLASSIFIER/STRATEGY\n  there is: "
            + label_list(files)
        )
    return {file.dataset: file for file in files}


def first_file(files: Mapping[str, PredictionFile]) -> PredictionFile:
    """Return the file of the first dataset: the names in it are those of all."""
    return next(iter(files.values()))


def files_by_dataset(
    parts: Sequence[Mapping[str, PredictionFile]],
    part_names: Sequence[str],
    wanted_datasets: Sequence[str],
) -> list[list[PredictionFile]]:
    """Return the files of all parts, dataset by dataset; raises for names of others."""
    shared = [name for name in parts[0] if all(name in files for files in parts)]
    if not shared:
        listed = "; ".join(
            f"{name}: {', '.join(files)}"
            for name, files in zip(part_names, parts, strict=True)
        )
        raise RunFolderError(f"no dataset that all parts ran on: {listed}")
    wanted = [name.casefold().replace(":", ".") for name in wanted_datasets]
    for name in wanted:
        if not any(_is_named(dataset, name) for dataset in shared):
            raise UnknownNameError(
                f"no dataset {name!r} that all parts ran on{did_you_mean(name, shared)}"
                f"\n  there is: {', '.join(shared)}"
            )
    return [
        [files[dataset] for files in parts]
        for dataset in shared
        if not wanted or any(_is_named(dataset, name) for name in wanted)
    ]


def _is_named(dataset: str, name: str) -> bool:
    folded = dataset.casefold()
    return folded == name or folded.startswith(f"{name}.")


def part_of(file: PredictionFile, columns: PartColumns) -> Part:
    """Return what a file says of samples; a sample failed with neither answer."""
    score, decision = columns.score.copy(), columns.decision.copy()
    failed = np.array([error is not None for error in columns.error], dtype=bool)
    failed |= np.isnan(score) & np.isnan(decision)
    for column in (score, decision):  # whatever a failed sample still holds
        column[failed] = np.nan
    first = columns.first
    threshold = first.get("threshold")
    return Part(
        label=file.label,
        failed=failed,
        threshold=None if threshold is None else float(threshold),
        probability=bool(first.get("probability")),
        scale=f"{first['model']}\n{file.label}",
        score=score,
        decision=decision,
        lower=columns.lower,
        upper=columns.upper,
    )


def rows_about(file: PredictionFile, line: PredictionLine) -> list[Row]:
    """Return the rows of a file's run that are about its whole test part.

    `line` is any of its predictions.
    """
    path = file.run / RESULTS_FILE
    if not path.is_file():
        return []
    key = combination_key(line)
    return [
        row
        for row in read_rows(path)
        if row.part == "test"
        and row.slice is None
        and row.category is None
        and row.prevalence is None
        and (row.classifier, row.strategy, row.dataset, row.config, row.split)
        == key[:5]
        and row.calibrator == key.calibrator
    ]
