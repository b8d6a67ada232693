"""Whether the parts of a stored combination have been run again since."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.checksums import file_checksum
from safebench.errors import SafebenchError
from safebench.results.prediction_reading import prediction_files
from safebench.results.rows import joined_notes
from safebench.results.run_files import MANIFEST_FILE, parse_manifest
from safebench.results.runs import run_names

from .run_folder import COMBINATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safebench.results import Row


def changed_parts(folder: Path) -> dict[tuple[str, str], str]:
    """Return by label and dataset which parts have other predictions by now.

    Empty for other run folders. A part that is no longer at hand is not spoken of:
    nobody knows whether it changed.
    """
    try:
        stored = parse_manifest(folder / MANIFEST_FILE).get(COMBINATIONS, {})
    except (OSError, ValueError):
        return {}
    changed = {}
    for label, by_dataset in stored.items():
        for dataset, made in by_dataset.items():
            parts = [p["label"] for p in made["parts"] if _is_other(folder, dataset, p)]
            if parts:
                changed[label, dataset] = (
                    f"{' and '.join(parts)} has been run again since: combine again"
                )
    return changed


def _is_other(folder: Path, dataset: str, part: dict[str, Any]) -> bool:
    # as it was named then, else beside the combination
    for run in (Path(part["run"]), folder.parent / Path(part["run"]).name):
        try:
            files = prediction_files(run)
        except SafebenchError:
            continue
        checksums = [
            file_checksum(file.path)
            for file in files
            if file.label == part["label"] and file.dataset == dataset.replace(":", ".")
        ]
        if checksums:
            return part["predictions"] not in checksums
    return False


def note_changed_parts(rows: Iterable[Row], folders: Sequence[Path]) -> list[Row]:
    """Return rows with a note where a part of theirs has been run again."""
    changed = {
        (run, *key): note
        for run, folder in zip(run_names(folders), folders, strict=True)
        for key, note in changed_parts(folder).items()
    }
    noted = []
    for row in rows:
        method = "+".join(filter(None, (row.strategy, row.calibrator)))
        dataset = ":".join(filter(None, (row.dataset, row.config, row.split)))
        note = changed.get((row.run, f"{row.classifier}/{method}", dataset), "")
        noted.append(replace(row, note=joined_notes(row.note, note)) if note else row)
    return noted
