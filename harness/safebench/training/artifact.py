"""The folder that a training leaves behind, and its manifest ``safebench.json``.

Keys that the core writes: schema_version, kind (the classifier that loads it), status
(training or done), trainer, identity, dataset, train_args, metrics, notes, versions,
git, commands. All others are the trainer's.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from safebench.checksums import sealed, unsealed
from safebench.errors import (
    ModelError,
    RunFolderError,
    SafebenchError,
    did_you_mean,
)
from safebench.files import write_json
from safebench.forwarding import old_names
from safebench.provenance import differences

from .looks import record_look

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from safebench.plugins import Plugins

    from .description import DescribedArtifact

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".npz", ".npy", ".joblib", ".skops")
_BLOCK_BYTES = 1 << 20
_MAX_OFFERED = 5
# Seconds. The main process reads the same data before it writes the manifest.
MANIFEST_TIMEOUT = 600.0


class Artifact:
    """The folder that a training leaves behind."""

    MANIFEST: ClassVar = "safebench.json"
    SCHEMA_VERSION: ClassVar = 1

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).expanduser()

    @property
    def path(self) -> Path:
        """The manifest's path."""
        return self.folder / self.MANIFEST

    def write(self, content: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        manifest = {"schema_version": self.SCHEMA_VERSION, **content}
        write_json(self.path, sealed(manifest))

    def manifest(self) -> dict[str, Any]:
        """Return the manifest, whatever it is of.

        Raises `ModelError` if it cannot be read, or was changed since it was written.
        """
        try:
            return unsealed(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError, RecursionError) as error:
            problem = " ".join(str(error).split())[:200]
            raise ModelError(f"{self.path} cannot be read: {problem}") from None

    def record_look(self, test: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Leave a mark before a test part is read; return what is known of earlier.

        `test` identifies its rows, `facts` (JSON values, ``registration`` among them)
        say what looks. Returns ``number``, ``earlier`` (their facts and times) and a
        ``summary`` for people, of marks in this folder and in the user's cache.
        """
        return record_look(self.folder, test, facts)

    def finished(
        self, kinds: str | Collection[str], command: str = ""
    ) -> dict[str, Any]:
        """Return the manifest of a finished training of one of `kinds` (classifiers).

        `command` is what trains one, for messages; without it, the trainers are taken
        to be called as the classifiers are.
        Raises `ModelError`, in one line, for a folder that is missing, not an artifact,
        unfinished, or of another kind.
        """
        kinds = [kinds] if isinstance(kinds, str) else sorted(kinds)
        folder = self.folder
        command = command or " or ".join(f"safebench train {kind}" for kind in kinds)
        if not folder.is_dir():
            raise ModelError(
                f"no folder {folder}: train one with {command}{offer_trained(*kinds)}"
            )
        if not self.path.is_file():
            raise ModelError(
                f"{folder} holds no {self.MANIFEST}: it is not from {command}"
            )
        content = self.manifest()
        kind = content.get("kind")
        if kind not in kinds:
            listed = " or ".join(kinds)
            raise ModelError(
                f"{folder} holds a model of {kind}, not {listed}: say -c {kind}"
            )
        version = content.get("schema_version")
        if version != self.SCHEMA_VERSION:
            raise ModelError(
                f"{self.path} has schema {version!r}; this version of "
                f"safebench reads {self.SCHEMA_VERSION}"
            )
        if content.get("status") != "done":
            trainer = content.get("trainer", kind)
            raise ModelError(
                f"{folder} is unfinished: go on with safebench train {trainer} "
                f"--resume --out {folder}"
            )
        return content

    def describe(self, plugins: Plugins) -> DescribedArtifact:
        """Return the artifact with what the plugin that trained it says of it.

        Raises `ModelError` for a folder without a finished training.
        """
        from .description import describe_artifact

        folder = self.folder
        if not folder.is_dir():
            known = [str(path) for _, path in trained_models()]
            raise ModelError(
                f"no folder {folder}: name one that safebench train wrote"
                + did_you_mean(str(folder), known)
            )
        if not self.path.is_file():
            raise ModelError(
                f"{folder} holds no {self.MANIFEST}: it is not from safebench train or "
                "safebench feedback train"
            )
        manifest = self.manifest()
        if manifest.get("status") != "done":
            raise ModelError(f"{folder} is unfinished: go on with its training first")
        return describe_artifact(folder, manifest, plugins)

    def write_card(self, plugins: Plugins) -> list[str]:
        """Write the model card of a finished training; return lines for its user.

        One that cannot be written, or that its user has edited, is no reason to lose a
        training: a line says so.
        """
        from .card import write_card

        name = self.folder.resolve().name
        try:
            write_card(self.describe(plugins), plugins, name, overwrite=False)
        except SafebenchError as error:
            return [f"no model card: {error.message}"]
        return []

    def weights_hash(self, suffixes: tuple[str, ...] = WEIGHT_SUFFIXES) -> str:
        """Return the SHA-256 (hex) of all weight files below the folder, with names.

        Checkpoints for resuming (``checkpoint-*``) do not count.
        """
        digest = hashlib.sha256()
        for path in sorted(p for p in self.folder.rglob("*") if p.suffix in suffixes):
            name = path.relative_to(self.folder)
            if any(part.startswith("checkpoint-") for part in name.parts):
                continue
            # Name and size first, so that bytes cannot move from one file to the next.
            digest.update(f"{name.as_posix()}\x1f{path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
        return digest.hexdigest()


def trained_models(roots: Iterable[str] = ("models", "runs")) -> list[tuple[str, Path]]:
    """Return the kind and the folder of every finished training right below `roots`.

    Folders are sorted. What cannot be read, or is not done, is no model to offer.
    """
    models = []
    for root in roots:
        for path in sorted(Path(root).glob(f"*/{Artifact.MANIFEST}")):
            try:
                content = Artifact(path.parent).manifest()
            except (SafebenchError, AttributeError):  # of JSON that is no mapping
                continue
            if isinstance(content, dict) and content.get("status") == "done":
                models.append((str(content.get("kind")), path.parent))
    return models


def offer_trained(*kinds: str) -> str:
    """Return what was trained in ./models and ./runs, for an error about a model.

    As a second line, with the words that name it to every command: what `kinds`
    (classifiers) load, or else what others do. Empty if there is nothing.
    """
    found = trained_models()
    fitting = [(kind, folder) for kind, folder in found if kind in kinds]
    if not found:
        return ""
    refs = [
        shlex.join(["-c", _reference(kind, folder)])
        for kind, folder in (fitting or found)[:_MAX_OFFERED]
    ]
    more = len(fitting or found) - len(refs)
    listed = ", or ".join(refs) + (f" (and {more} more)" if more else "")
    whose = "" if fitting else f"nothing of {' or '.join(kinds)}, but "
    return f"\n  trained here: {whose}{listed}"


def _reference(kind: str, folder: Path) -> str:
    """Return a classifier with its model, as `-c` reads it."""
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow([kind, f"model={folder}"])
    return file.getvalue()


def check_output_folder(
    out: Path,
    *,
    resume: bool,
    identity: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Raise `RunFolderError` unless a training may write to the folder `out`.

    It may if the folder is new or empty, or with `resume` if it holds a training whose
    stored identity equals `identity` (None: not checked yet). The error names what
    differs. An option that is not in the stored identity is younger than the training,
    which then had its value of `defaults`.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise RunFolderError(f"{out} is a file; name a folder with --out")
    names = sorted(p.name for p in out.iterdir() if not p.name.startswith("."))
    if not Artifact(out).path.exists():
        if names:
            raise RunFolderError(
                f"{out} holds {', '.join(names[:3])} and is no training; name another "
                "folder with --out"
            )
        return
    stored = Artifact(out).manifest()
    # A training that failed before it saved anything leaves nothing to resume or lose.
    if stored.get("status") != "done" and names == [Artifact.MANIFEST]:
        return
    if not resume:
        status = "a finished" if stored.get("status") == "done" else "an unfinished"
        raise RunFolderError(
            f"{out} holds {status} training of {stored.get('trainer')}; go on with it "
            "by --resume, or name another folder with --out"
        )
    if identity is None:
        return
    # Through JSON, as the stored one: tuples become lists, paths become text.
    requested = json.loads(json.dumps(identity, default=str))
    known = stored.get("identity")
    if isinstance(known, dict) and isinstance(known.get("options"), dict):
        younger = json.loads(json.dumps(defaults or {}, default=str))
        known = known | {"options": younger | known["options"]}
    differing = list(differences(known, requested))
    if differing:
        lines = "\n  ".join(differing[:8])
        raise RunFolderError(
            f"{out} holds another training, --resume cannot go on with it\n  {lines}"
        )


def wait_for_manifest(out: Path, timeout: float = MANIFEST_TIMEOUT) -> None:
    """Wait until the main process has checked the folder and written its manifest.

    Files that other processes write earlier would make it refuse the folder. Raises
    `RunFolderError` after `timeout` seconds: the main process failed, or writes to the
    disk of another machine.
    """
    end = time.monotonic() + timeout
    while not Artifact(out).path.exists():
        if time.monotonic() > end:
            raise RunFolderError(
                f"the main process wrote no {Artifact.MANIFEST} to {out}: all "
                "processes of a training need the same folder"
            )
        time.sleep(0.1)


__getattr__ = old_names(__name__)
