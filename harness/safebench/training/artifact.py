"""The folder that a training leaves behind: ``safebench.json`` says what is in it.

Keys that the core writes: schema_version, kind (the classifier that loads it), status
(training or done), trainer, identity, dataset, train_args, metrics, notes, versions,
git, commands. All others are the trainer's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.differences import differences
from safebench.errors import ModelError, RunFolderError
from safebench.files import write_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

ARTIFACT = "safebench.json"
SCHEMA_VERSION = 1
WEIGHTS = (".safetensors", ".bin", ".pt", ".npz", ".npy", ".joblib", ".skops")
_BLOCK = 1 << 20


def write_manifest(out: Path, content: Mapping[str, Any]) -> None:
    """Replace the manifest of the folder `out`."""
    write_json(out / ARTIFACT, {"schema_version": SCHEMA_VERSION, **content})


def read_artifact(folder: Path | str, kinds: str | Collection[str]) -> dict[str, Any]:
    """Return the manifest of a finished training of one of `kinds`.

    Raises `ModelError`, in one line, for a folder that is missing, foreign, unfinished
    or of another kind.
    """
    kinds = [kinds] if isinstance(kinds, str) else sorted(kinds)
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ModelError(f"no folder {folder}: train one with {_advice(kinds)}")
    if not (folder / ARTIFACT).is_file():
        raise ModelError(
            f"{folder} holds no {ARTIFACT}: it is not from {_advice(kinds)}"
        )
    content = load_manifest(folder)
    kind = content.get("kind")
    if kind not in kinds:
        listed = " or ".join(kinds)
        raise ModelError(
            f"{folder} holds a model of {kind}, not {listed}: say -c {kind}"
        )
    if content.get("schema_version") != SCHEMA_VERSION:
        raise ModelError(
            f"{folder / ARTIFACT} has schema {content.get('schema_version')!r}; this "
            f"version of safebench reads {SCHEMA_VERSION}"
        )
    if content.get("status") != "done":
        trainer = content.get("trainer", kind)
        raise ModelError(
            f"{folder} is unfinished: go on with safebench train {trainer} --resume "
            f"--out {folder}"
        )
    return content


def _advice(kinds: Iterable[str]) -> str:
    return " or ".join(f"safebench train {kind}" for kind in kinds)


def load_manifest(folder: Path) -> dict[str, Any]:
    """Return a manifest as it is, or raise `ModelError` if it cannot be read."""
    path = folder / ARTIFACT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} cannot be read: {problem}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} cannot be read: not a JSON object")
    return content


def open_artifact(
    out: Path, *, resume: bool, identity: Mapping[str, Any] | None = None
) -> None:
    """Refuse a folder that holds anything but the training to go on with.

    With `identity` the stored one must equal it; what differs is named.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise RunFolderError(f"{out} is a file; name a folder with --out")
    there = sorted(p.name for p in out.iterdir() if not p.name.startswith("."))
    if not (out / ARTIFACT).exists():
        if there:
            raise RunFolderError(
                f"{out} holds {', '.join(there[:3])} and is no training; name another "
                "folder with --out"
            )
        return
    stored = load_manifest(out)
    if stored.get("status") != "done" and there == [ARTIFACT]:
        return  # it failed before it left anything
    if not resume:
        status = "a finished" if stored.get("status") == "done" else "an unfinished"
        raise RunFolderError(
            f"{out} holds {status} training of {stored.get('trainer')}; go on with it "
            "by --resume, or name another folder with --out"
        )
    if identity is None:
        return
    wanted = json.loads(json.dumps(identity, default=str))
    differing = list(differences(stored.get("identity"), wanted))
    if differing:
        lines = "\n  ".join(differing[:8])
        raise RunFolderError(
            f"{out} holds another training, --resume cannot go on with it\n  {lines}"
        )


def weights_hash(folder: Path | str, suffixes: tuple[str, ...] = WEIGHTS) -> str:
    """Return the SHA-256 of all weight files below a folder, names included.

    Checkpoints of an interrupted training (``checkpoint-*``) do not count.
    """
    folder = Path(folder)
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in suffixes):
        name = path.relative_to(folder)
        if any(piece.startswith("checkpoint-") for piece in name.parts):
            continue
        digest.update(f"{name.as_posix()}\x1f{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
