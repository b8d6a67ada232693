"""Models on disk and on the Hugging Face hub, found without importing torch.

What may be named, and in which words a model that is not there is refused, differs
between plugins; how a folder is fetched and what is suggested does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safebench.errors import did_you_mean

_CONFIG_PATTERNS = ("*.json", "*.jinja", "*.txt", "*.model", "tokenizer*")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder of model files, the model's name, and its hub commit or hash ("")."""

    folder: Path
    label: str
    commit: str = ""


def is_path(name: str) -> bool:
    """Tell names that can only be paths from those that may be hub ids."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def suggest_sibling(folder: Path) -> str:
    """Return "; did you mean ..." for the most similar folder beside it, or ""."""
    parent = folder.parent
    siblings = (
        [path.name for path in parent.iterdir() if path.is_dir()]
        if parent.is_dir()
        else []
    )
    return did_you_mean(folder.name, siblings)


def download_snapshot(
    name: str, revision: str = "", *, pickled: str = "pytorch_model*.bin"
) -> Path:
    """Return the folder of a hub model's snapshot, whose name is the commit.

    Safetensors are preferred; files that match `pickled` are fetched only where the
    model has none. Raises OSError or ValueError, as `hub_failure` explains.
    """
    # Here, because the client takes longer to import than a cached model to find.
    import huggingface_hub
    import huggingface_hub.errors

    def fetch(weights: str) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=[*_CONFIG_PATTERNS, weights],
                # Llama repositories hold the same weights a second time there.
                ignore_patterns=["original/*"],
            )
        )

    # The client's HTTP library differs between versions; this is its base error.
    errors: Any = huggingface_hub.errors
    try:
        folder = fetch("*.safetensors")
        if not any(folder.glob("*.safetensors")):
            folder = fetch(pickled)
    except errors.HTTPError as error:
        if isinstance(error, (OSError, ValueError)):
            raise
        raise OSError(str(error)) from error
    return folder


def hub_failure(error: Exception) -> str:
    """Say in a few words why the hub did not give a model."""
    import huggingface_hub.errors

    errors: Any = huggingface_hub.errors
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "it is not in the cache of the hub, which cannot be reached"
    if isinstance(error, errors.RevisionNotFoundError):
        return "the hub has no such revision of it"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has none of that name, or wants a login for it"
    return f"the hub did not give it ({' '.join(str(error).split())[:160]})"
