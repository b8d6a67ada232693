"""A combination as a run folder: predictions of both parts, rows with all metrics.

It is made of stored predictions alone: neither a model nor a dataset is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safebench.checksums import file_checksum, sealed
from safebench.errors import RunFolderError
from safebench.files import lock_folder, write_json
from safebench.provenance import command_line, package_versions
from safebench.redaction import redact_secrets
from safebench.results import RESULTS_FILE, Row, merge_rows
from safebench.results.prediction_writing import StagedPredictions, path_of
from safebench.results.rows import SCHEMA
from safebench.results.run_files import (
    FILES,
    MANIFEST_FILE,
    PREDICTIONS_FOLDER,
    parse_manifest,
)
from safebench.results.runs import RUNS_FOLDER

from .combined_files import CombinedFiles, combine_files
from .combined_rows import combination_notes, combined_rows
from .parts import files_by_dataset, files_of_part, first_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.errors import SafebenchError
    from safebench.results.prediction_reading import PredictionFile
    from safebench.specs import MetricSpec

    from .costs import CombinationCost
    from .rules import CombinationRule


COMBINATIONS = "combinations"  # the field of a manifest that says whose folder it is


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinationResult:
    """One combination on one dataset, as it was written.

    `left_out` samples are those that not all parts have.
    """

    classifier: str
    strategy: str
    dataset: str
    task: str
    n: int
    n_failed: int
    left_out: int
    cost: CombinationCost
    fitted: dict[str, object]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    of_parts: tuple[Row, ...]


class CombinationRequest(NamedTuple):
    """What is to be combined: parts by name, by which rule, and what it is called."""

    parts: Sequence[str]
    rule: CombinationRule
    runs: Sequence[str] = ()
    name: str | None = None
    datasets: Sequence[str] = ()


def combine_runs(
    request: CombinationRequest,
    metrics: Sequence[MetricSpec],
    out: str | Path | None = None,
    on_error: Callable[[SafebenchError], None] | None = None,
) -> tuple[Path, list[CombinationResult]]:
    """Write a combination of stored predictions into a run folder of its own.

    Raises UnknownNameError, RunFolderError or DataError, before anything is written.
    """
    parts = [files_of_part(name, request.runs) for name in request.parts]
    classifiers = ",".join(first_file(files).classifier for files in parts)
    classifier = request.name or f"{request.rule.text}({classifiers})"
    strategy = ",".join(first_file(files).method for files in parts)
    folder = Path(out) if out else RUNS_FOLDER / _folder_name(classifier)
    stored = _stored_combinations(folder)
    combined = [
        combine_files(request.rule, files, (classifier, strategy))
        for files in files_by_dataset(parts, request.parts, request.datasets)
    ]
    for result in combined:
        _check_same_parts(folder, stored, result)
    with lock_folder(folder, (PREDICTIONS_FOLDER,)):
        results = [
            _write(folder, result, metrics, on_error, stored) for result in combined
        ]
    return folder, results


def _folder_name(classifier: str) -> str:
    return re.sub(r"[^\w.@+-]+", "_", classifier).strip("_.")[:100] or "combination"


def _write(
    folder: Path,
    made: CombinedFiles,
    metrics: Sequence[MetricSpec],
    on_error: Callable[[SafebenchError], None] | None,
    stored: dict[str, Any],
) -> CombinationResult:
    """Write predictions and rows of a combination, in the place of earlier ones."""
    rows = combined_rows(folder, made, metrics, on_error)
    dataset = ":".join(filter(None, made.key[2:5]))
    label = f"{made.key.classifier}/{made.key.strategy}"
    stored.setdefault(label, {})[dataset] = {
        "rule": made.rule.text,
        "parts": [_origin(file) for file in made.files],
        "left_out": made.left_out,
        "fitted": made.combined.fitted,
    }
    _write_manifest(folder, stored)
    staged = StagedPredictions()
    staged.add(path_of(folder, made.key), made.lines, "jsonl")

    def is_earlier(row: Row) -> bool:
        names = (row.classifier, row.strategy, row.dataset, row.config, row.split)
        return names == made.key[:5]

    with staged.replacing():
        merge_rows(folder / RESULTS_FILE, rows, drop=is_earlier)
    return CombinationResult(
        classifier=made.key.classifier,
        strategy=made.key.strategy,
        dataset=dataset,
        task=made.first.first["task"],
        n=len(made.counted),
        n_failed=int(made.lines.failed[made.counted].sum()),
        left_out=made.left_out,
        cost=made.cost,
        fitted=made.combined.fitted,
        notes=combination_notes(made),
        rows=tuple(rows),
        of_parts=tuple(row for of_part in made.rows for row in of_part),
    )


def _origin(file: PredictionFile) -> dict[str, str]:
    return {
        "run": file.run.as_posix(),
        "label": file.label,
        "predictions": file_checksum(file.path),
    }


def _stored_combinations(folder: Path) -> dict[str, Any]:
    """Return what a folder of combinations holds; raises RunFolderError for others."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    try:
        content = parse_manifest(folder / MANIFEST_FILE)
    except (OSError, ValueError):
        content = {}
    combinations = content.get(COMBINATIONS)
    if not isinstance(combinations, dict):
        raise RunFolderError(
            f"{folder} holds no combinations, and what is in it would outlive its own "
            "run: name another folder with --out"
        )
    return combinations


def _check_same_parts(
    folder: Path, stored: Mapping[str, Any], made: CombinedFiles
) -> None:
    """Refuse a combination that would take the place of one of other parts."""
    label = f"{made.key.classifier}/{made.key.strategy}"
    dataset = ":".join(filter(None, made.key[2:5]))
    earlier = stored.get(label, {}).get(dataset)
    if earlier is None:
        return
    before = [(part["run"], part["label"]) for part in earlier["parts"]]
    now = [(file.run.as_posix(), file.label) for file in made.files]
    if (before, earlier["rule"]) != (now, made.rule.text):
        listed = ", ".join(f"{run}/{name}" for run, name in before)
        raise RunFolderError(
            f"{folder} holds another {label} on {dataset}, {earlier['rule']} of "
            f"{listed}: give this one a name with --name, or a folder with --out"
        )


def _write_manifest(folder: Path, combinations: Mapping[str, Any]) -> None:
    path = folder / MANIFEST_FILE
    try:
        content = parse_manifest(path)
    except (OSError, ValueError):
        content = {}
    datasets = sorted({name for sets in combinations.values() for name in sets})
    write_json(
        path,
        sealed(
            {
                "schema": SCHEMA,
                # so that `safebench run` does not take the folder for one of its own
                "identity": {
                    "classifiers": dict.fromkeys(combinations, "combination"),
                    "datasets": datasets,
                },
                "status": "done",
                "versions": package_versions(),
                "commands": [
                    *content.get("commands", []),
                    redact_secrets(command_line()),
                ],
                "notes": [],
                "models": {},
                COMBINATIONS: combinations,
                FILES: content.get(FILES, {}),
            }
        ),
    )
