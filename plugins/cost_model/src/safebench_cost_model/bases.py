"""Find a model's folder: as named, in the Hugging Face cache, or on the hub."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safebench.errors import ModelError, nearest
from safebench.neural import minilm

from .options import MINILM

_SMALL = ["*.json", "*.jinja", "*.txt", "*.model", "tokenizer*"]


@dataclass(frozen=True, slots=True)
class Base:
    """A folder of model files, the model's name, and its hub commit or hash."""

    folder: Path
    label: str
    commit: str = ""


def find_model(name: str, revision: str = "") -> Base:
    """Return where `name` (folder, hub id or ``minilm``) is; ModelError if nowhere."""
    if name == MINILM:
        return Base(minilm.folder(), minilm.LABEL, minilm.SHA256)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(f"model {name!r}: no config.json in that folder")
        return Base(folder, folder.resolve().name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(f"model {name!r}: no such folder{_neighbour(folder)}")
    return _fetch(name, revision)


def _neighbour(folder: Path) -> str:
    parent = folder.parent
    beside = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
    hint = nearest(folder.name, beside)
    return hint or f"; a folder, a hub id ORG/NAME or {MINILM} would work"


def _fetch(name: str, revision: str) -> Base:
    """Return the snapshot of a hub model, from the cache if it is there."""
    import huggingface_hub
    import huggingface_hub.errors

    errors: Any = huggingface_hub.errors  # its HTTP library differs between versions

    def snapshot(wanted: list[str]) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision or None, allow_patterns=wanted
            )
        )

    try:
        folder = snapshot([*_SMALL, "*.safetensors"])
        if not any(folder.glob("*.safetensors")):
            folder = snapshot([*_SMALL, "pytorch_model*.bin"])
    except (OSError, ValueError, errors.HTTPError) as error:
        reason = textwrap.shorten(str(error), 160, placeholder=" ...")
        raise ModelError(
            f"model {name!r}: no such folder, and the hub did not give it: {reason}"
            f"{_neighbour(Path(name))}"
        ) from error
    return Base(folder, name, folder.name)
