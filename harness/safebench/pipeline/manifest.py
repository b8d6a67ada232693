"""The run folder: its name, whose run it holds, and its manifest.

Whose run it is: its models and record options, its datasets by name, and the rows that
those names stood for.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.datasets.fingerprint import DataFingerprint
from safebench.errors import RunFolderError
from safebench.files import set_aside, write_json
from safebench.provenance import (
    command_line,
    differences,
    package_versions,
)
from safebench.redaction import redact_secrets
from safebench.results import RESULTS_FILE, SCHEMA
from safebench.results.predictions import PREDICTIONS_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.records import Dataset

    from .grid import ResolvedClassifier

MANIFEST_FILE = "manifest.json"
MAX_FOLDER_NAME = 120  # characters; file systems end at 255 bytes


def run_identity(
    classifiers: Sequence[ResolvedClassifier], datasets: Sequence[str]
) -> dict[str, Any]:
    """Return what makes two runs the same: models, record options, datasets."""
    return {
        "classifiers": {c.label: c.request for c in classifiers},
        "datasets": sorted(datasets),
    }


def default_folder(
    classifiers: Sequence[ResolvedClassifier], datasets: Sequence[str]
) -> Path:
    """Return ``runs/<classifiers>-<datasets>``, with the models that users chose."""
    names = [
        f"{c.label}@{Path(c.model).name}"
        if getattr(c.options, "model", "")
        else c.label
        for c in classifiers
    ]
    return Path("runs") / _slug("+".join(names) + "-" + "+".join(datasets))


def _slug(text: str) -> str:
    slug = re.sub(r"[^\w.@+-]+", "_", text)
    if len(slug) <= MAX_FOLDER_NAME:
        return slug
    digest = hashlib.sha256(slug.encode()).hexdigest()[:8]  # long names stay distinct
    return f"{slug[:MAX_FOLDER_NAME]}-{digest}"


def check_run_folder(
    folder: Path, identity: dict[str, Any], datasets: Sequence[Dataset]
) -> None:
    """Raise `RunFolderError` if a folder holds another run, saying what differs.

    `datasets` are whole, whatever the limit: rows may have been appended to them since,
    but what was stored must be about rows that are still there.
    """
    path = folder / MANIFEST_FILE
    if not path.exists():
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; name a folder with --out")
        return
    content = read_manifest(path)
    stored = content.get("identity")
    if not isinstance(stored, dict):
        raise RunFolderError(
            f"{path} is damaged, so that nobody knows whose run {folder} holds; name "
            f"another folder with --out, or delete {path} if it was this run"
        )
    expected = json.loads(json.dumps(identity, default=str))  # as it would be stored
    differing = list(differences(stored, expected))
    if differing:
        lines = "\n  ".join(differing[:5])
        raise RunFolderError(
            f"{folder} holds another run; name another folder with --out\n  {lines}"
        )
    if _has_results(folder):  # evidence alone is found by its texts, and not by names
        for dataset in datasets:
            _check_data(folder, dataset, _fingerprints(content).get(dataset.label))


def _check_data(folder: Path, dataset: Dataset, stored: DataFingerprint | None) -> None:
    """Raise `RunFolderError` if a folder's results are about other rows."""
    # folders of early versions do not say which rows they are about
    if stored is None or stored.change_to(dataset) != "other":
        return
    raise RunFolderError(
        f"{folder} holds results of other data called {dataset.label}: "
        f"{stored.rows} rows there, {len(dataset)} asked for, and they are not the "
        "same rows with some more at the end; name another folder with --out, or "
        f"delete {folder}"
    )


def _has_results(folder: Path) -> bool:
    return (folder / RESULTS_FILE).exists() or (folder / PREDICTIONS_FOLDER).exists()


def _fingerprints(content: dict[str, Any]) -> dict[str, DataFingerprint]:
    """Return the stored fingerprints by the labels of their datasets."""
    stored = content.get("data")
    if not isinstance(stored, dict):
        return {}
    read = {label: DataFingerprint.from_json(value) for label, value in stored.items()}
    return {label: print_ for label, print_ in read.items() if print_ is not None}


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what a manifest holds; nothing if it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


class RunManifest:
    """The manifest of one run folder, rewritten whenever its status changes.

    Commands and models of earlier runs in the same folder are kept. `notice` is for
    the user where some of them could not be read.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], datasets: Sequence[Dataset]
    ) -> None:
        self.path = folder / MANIFEST_FILE
        self.notice = ""
        stored = read_manifest(self.path)
        damaged = [
            name
            for name, type_ in (("commands", list), ("models", dict))
            if not isinstance(stored.get(name, type_()), type_)
        ]
        if damaged:
            stored = {k: v for k, v in stored.items() if k not in damaged}
            self.notice = (
                f"{self.path} is damaged ({', '.join(damaged)}): set aside as "
                f"{set_aside(self.path).name}, and written again"
            )
        self.content: dict[str, Any] = {
            "schema": SCHEMA,
            "identity": identity,
            "data": {d.label: DataFingerprint.of(d).to_json() for d in datasets},
            "status": "running",
            "versions": package_versions(),
            "commands": [*stored.get("commands", []), redact_secrets(command_line())],
            "notes": [],
            "models": stored.get("models", {}),
        }

    def save(self, status: str) -> None:
        """Write the manifest with a new status."""
        self.content["status"] = status
        write_json(self.path, self.content)
