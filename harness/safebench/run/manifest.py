"""What a run folder holds: its identity, versions and status."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.differences import differences
from safebench.errors import RunFolderError
from safebench.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .grid import ChosenClassifier

MANIFEST = "manifest.json"
LONGEST_NAME = 120  # of a run folder, in characters
PACKAGES = (
    "safebench",
    "numpy",
    "scikit-learn",
    "datasets",
    "torch",
    "transformers",
    "peft",
    "accelerate",
)
_NAMES = r"(?:token|secret|password|api_?key)"
SECRET = re.compile(rf"(?:^|[_.]){_NAMES}$", re.IGNORECASE)
SECRET_PAIR = re.compile(rf"((?:^|[_.,]|--){_NAMES}=)[^,]*", re.IGNORECASE)


def identity_of(
    classifiers: Sequence[ChosenClassifier], datasets: Sequence[str]
) -> dict[str, Any]:
    """Return what makes two runs the same: models, record options, datasets."""
    return {
        "classifiers": {c.label: c.request for c in classifiers},
        "datasets": sorted(datasets),
    }


def default_folder(
    classifiers: Sequence[ChosenClassifier], datasets: Sequence[str]
) -> Path:
    """Return ``runs/<classifiers>-<datasets>``, the model named where it matters."""
    names = [c.label for c in classifiers]
    for position, chosen in enumerate(classifiers):
        if getattr(chosen.options, "model", ""):
            names[position] += "@" + Path(chosen.model).name
    return Path("runs") / _slug("+".join(names) + "-" + "+".join(datasets))


def _slug(text: str) -> str:
    slug = re.sub(r"[^\w.@+-]+", "_", text)
    if len(slug) <= LONGEST_NAME:
        return slug
    mark = hashlib.sha256(slug.encode()).hexdigest()[:8]  # long names stay distinct
    return f"{slug[:LONGEST_NAME]}-{mark}"


def open_folder(folder: Path, identity: dict[str, Any]) -> None:
    """Refuse a folder that holds another run, saying what differs."""
    path = folder / MANIFEST
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
    wanted = json.loads(json.dumps(identity, default=str))
    differing = list(differences(stored, wanted))
    if differing:
        lines = "\n  ".join(differing[:5])
        raise RunFolderError(
            f"{folder} holds another run; name another folder with --out\n  {lines}"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one process; another one is told so."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            yield
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunFolderError(
                f"another safebench run is writing to {folder}"
            ) from None
        yield


def versions() -> dict[str, str]:
    """Return the versions that results depend on, of what is installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def redacted(value: Any, key: str = "") -> Any:
    """Return a configuration, or a command's words, without secrets."""
    if isinstance(value, dict):
        return {k: redacted(v, str(k)) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(v, key) for v in value]
    if value and SECRET.search(key):
        return "***"
    return SECRET_PAIR.sub(r"\1***", value) if isinstance(value, str) else value


class Manifest:
    """The manifest of one run folder, rewritten whenever its status changes."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.path = folder / MANIFEST
        stored = self._stored()
        self.content: dict[str, Any] = {
            "schema": 1,
            "identity": identity,
            "status": "running",
            "versions": versions(),
            "commands": [*stored.get("commands", []), redacted(command_line())],
            "notes": [],
            "models": stored.get("models", {}),
        }

    def _stored(self) -> dict[str, Any]:
        if not self.path.exists():
            return {}
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return found

    def save(self, status: str) -> None:
        """Write the manifest with a new status."""
        self.content["status"] = status
        write_json(self.path, self.content)


def command_line() -> list[str]:
    """Return the command as typed, the program by its short name."""
    return ["safebench", *sys.argv[1:]]
