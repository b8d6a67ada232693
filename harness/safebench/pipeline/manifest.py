"""The run folder: its name, whose run it holds, and its manifest."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import RunFolderError
from safebench.files import write_json
from safebench.provenance import (
    command_line,
    differences,
    package_versions,
    redact_secrets,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def check_run_folder(folder: Path, identity: dict[str, Any]) -> None:
    """Raise `RunFolderError` if a folder holds another run, saying what differs."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; name a folder with --out")
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except (ValueError, KeyError, TypeError):
        raise RunFolderError(
            f"{path} cannot be read; name another folder with --out"
        ) from None
    expected = json.loads(json.dumps(identity, default=str))  # as it would be stored
    differing = list(differences(stored, expected))
    if differing:
        lines = "\n  ".join(differing[:5])
        raise RunFolderError(
            f"{folder} holds another run; name another folder with --out\n  {lines}"
        )


class RunManifest:
    """The manifest of one run folder, rewritten whenever its status changes.

    Commands and models of earlier runs in the same folder are kept.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.path = folder / MANIFEST_FILE
        stored = self._read()
        self.content: dict[str, Any] = {
            "schema": 1,
            "identity": identity,
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

    def _read(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return content
