"""Find what a classifier is asked to load: a training's folder or a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError
from safebench.training.artifact import ARTIFACT, read_artifact

from .bases import complete, fetch, neighbour

if TYPE_CHECKING:
    from collections.abc import Mapping

ENSEMBLE = "bert_ensemble"
FACTS = "member.json"
_TRAIN = "safebench train bert_ensemble --base {} --out DIR"


@dataclass(frozen=True, slots=True)
class Found:
    """A folder with members' folders; the manifest is empty for a plain checkpoint."""

    root: Path
    members: tuple[Path, ...]
    label: str
    commit: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)


def find_ensemble(model: str, revision: str = "") -> Found:
    """Return a trained ensemble, or one checkpoint as an ensemble of one."""
    if not model:
        raise ModelError(
            "bert_ensemble has no model of its own: train one with "
            f"{_TRAIN.format('minilm')} and name it by --model DIR, or name any "
            "sequence-classification checkpoint by its folder or hub id"
        )
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if model.startswith((".", "/", "~")) or model.count("/") > 1:
            raise ModelError(f"no folder {model}{neighbour(folder)}")
        base = fetch(model, revision)
        return Found(base.folder, (base.folder,), base.label, base.revision)
    if (folder / ARTIFACT).is_file() or not (folder / "config.json").is_file():
        manifest = read_artifact(folder, ENSEMBLE)
        return Found(
            folder, _members(folder, manifest), folder.resolve().name, "", manifest
        )
    if (folder / FACTS).is_file() and (folder.parent / ARTIFACT).is_file():
        return _one_member(folder)
    return Found(complete(folder), (folder,), folder.resolve().name)


def _one_member(folder: Path) -> Found:
    """Return a member of a trained ensemble, which reads as the ensemble does."""
    root = folder.resolve().parent
    manifest = read_artifact(root, ENSEMBLE)
    label = f"{root.name}/{folder.resolve().name}"
    return Found(root, (complete(folder),), label, "", manifest)


def find_baseline(model: str, kind: str, base: str) -> Found:
    """Return a trained baseline's folder and manifest."""
    if not model:
        raise ModelError(
            f"{kind} has no model of its own: train one with {_TRAIN.format(base)} "
            "and name it by --model DIR"
        )
    folder = Path(model).expanduser()
    manifest = read_artifact(folder, kind)
    return Found(folder, (), folder.resolve().name, "", manifest)


def _members(folder: Path, manifest: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the members' folders; `ModelError` names the first that is not whole."""
    try:
        paths = [str(member["path"]) for member in manifest["members"]]
    except (KeyError, TypeError):
        paths = []
    if not paths:
        raise ModelError(f"{folder / ARTIFACT} names no members: train it again")
    for path in paths:
        try:
            complete(folder / path)
        except ModelError as error:
            raise ModelError(
                f"{folder} lacks a member ({error.message}): copy it whole, or remove "
                "that member and train with --resume"
            ) from None
    return tuple(folder / path for path in paths)
