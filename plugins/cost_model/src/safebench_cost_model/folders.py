"""The folders that an artifact's manifest names: there, and whole, or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError

from .bases import find_model
from .layout import ADAPTER, place

if TYPE_CHECKING:
    from pathlib import Path

# Patterns of files without which nothing can be loaded.
OF_ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")
OF_NETWORKS = ("config.json", "*.safetensors", "tokenizer.json")
ADVICE = "copy it again from where it was trained"


def networks_in(folder: Path, manifest: dict[str, Any]) -> tuple[Path, ...]:
    """Return the folder of each member; ModelError names the first that is not whole.

    Artifacts of one network may come from before there were members.
    """
    total, files = manifest.get("members", 1), manifest["files"]
    found = tuple(folder / place(i + 1, total) / files for i in range(total))
    for path in found:
        _check(folder, path, OF_ADAPTERS if files == ADAPTER else OF_NETWORKS)
    return found


def base_of(folder: Path, base: dict[str, str]) -> Path:
    """Return the folder of the base under an artifact's adapters."""
    if not base["folder"] and not base["revision"]:  # the supervised stage left it
        _check(folder, folder / base["name"], OF_NETWORKS)
        return folder / base["name"]
    named = base["folder"] or base["name"]
    try:
        return find_model(named, "" if base["folder"] else base["revision"]).folder
    except ModelError as error:
        raise ModelError(
            f"{folder} holds adapters for {base['name']}, which is not there any more: "
            f"{error.message}"
        ) from error


def _check(folder: Path, path: Path, needed: tuple[str, ...]) -> None:
    """Raise ModelError if a folder within an artifact is gone, or lacks files."""
    name = path.relative_to(folder)
    if not path.is_dir():
        raise ModelError(f"{folder}: its folder {name} is gone; {ADVICE}")
    lost = [pattern for pattern in needed if not any(path.glob(pattern))]
    if lost:
        raise ModelError(f"{folder}: its folder {name} lacks {lost[0]}; {ADVICE}")
