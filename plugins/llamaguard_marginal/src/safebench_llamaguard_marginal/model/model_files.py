"""Model files: the embedded guard, a folder, the Hugging Face cache, or the hub.

The layout of the cache is read here, so that a stored model is found without importing
a library; only a model that is not stored is downloaded.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Literal

from safebench.errors import ModelError, did_you_mean
from safebench.torch_utils import ModelFolder

# Ends the label of a guard that lies in this package; the first is the default.
EMBEDDED = "(embedded)"
DEFAULT_GUARD = "tiny-guard"
_PACKAGE = Path(__file__).parents[1]
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
NAMED_TEMPLATES = "additional_chat_templates/*.jinja"
_OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_CONFIG = {"model": "config.json", "adapter": "adapter_config.json"}
_WEIGHT_STEMS = {"model": ("model", "pytorch_model"), "adapter": ("adapter_model",)}

ModelKind = Literal["model", "adapter"]


def locate_model(
    name: str, revision: str = "", kind: ModelKind = "model", *, weights: bool = True
) -> ModelFolder:
    """Return where `name` (folder, hub id or "") is; raises ModelError if nowhere.

    The guards of this package go by their names, too. Without `weights` a model's
    tokenizer and configuration are enough, and of the hub's models nothing else is
    fetched.
    """
    embedded = embedded_guards()
    folder = Path(name).expanduser()
    if not name or (kind == "model" and name in embedded):
        label = f"{name or DEFAULT_GUARD} {EMBEDDED}"
        if name and folder.is_dir():
            raise ModelError(
                f"model {name!r}: a guard of this plugin, and a folder here: ./{name} "
                "is the folder; where there is none, the name is the guard"
            )
        folder = embedded[name or DEFAULT_GUARD]
        return ModelFolder(_checked_folder(folder, label, kind, weights=weights), label)
    if folder.is_dir():
        checked = _checked_folder(folder, name, kind, weights=weights)
        return ModelFolder(checked, folder.resolve().name)
    if not _HUB_ID.fullmatch(name):
        raise ModelError(f"{kind} {name!r}: no such folder{_nearest_name_hint(folder)}")
    cached = _from_hub_cache(name, revision, kind, weights=weights)
    return cached or _from_hub(name, revision, kind, weights=weights)


def embedded_guards() -> dict[str, Path]:
    """Return the folders of the guards in this package by their names."""
    folders = sorted(_PACKAGE.glob(f"{DEFAULT_GUARD.replace('-', '_')}*/config.json"))
    found = {path.parent.name.replace("_", "-"): path.parent for path in folders}
    # named even where it is missing, so that the error says of what files
    return {DEFAULT_GUARD: _PACKAGE / DEFAULT_GUARD.replace("-", "_")} | found


def is_embedded(source: ModelFolder) -> bool:
    """Tell whether a model is one of this package."""
    return source.folder in embedded_guards().values()


def weight_files(folder: Path, kind: ModelKind = "model") -> list[Path]:
    """Return the weight files of a folder, shards included; empty if there are none.

    Raises ModelError where an index names a shard that is not there.
    """
    for stem in _WEIGHT_STEMS[kind]:
        for ending in (".safetensors", ".bin"):  # as transformers prefers them
            # the whole file first: an index may be left of a model that lay here before
            whole = folder / f"{stem}{ending}"
            if whole.is_file():
                return [whole]
            index = folder / f"{stem}{ending}.index.json"
            if index.is_file():
                return _shard_files(index)
    return []


def _shard_files(index: Path) -> list[Path]:
    names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    missing = sorted(n for n in names if not (index.parent / n).is_file())
    if missing:
        raise ModelError(
            f"model folder {index.parent}: {len(missing)} of {len(names)} shards are "
            f"missing, first {missing[0]}; download it again"
        )
    return [index.parent / name for name in sorted(names)]


def _checked_folder(folder: Path, name: str, kind: ModelKind, *, weights: bool) -> Path:
    """Return `folder` if it holds a whole model; ModelError says what it lacks."""
    if not (folder / _CONFIG[kind]).is_file():
        hint = ""
        if kind == "model" and (folder / _CONFIG["adapter"]).is_file():
            hint = "; it holds an adapter: name its base model and add adapter=FOLDER"
        rejected = folder / "trained"  # where feedback leaves it
        if kind == "adapter" and (rejected / _CONFIG[kind]).is_file():
            hint = f"; what its training's gate did not accept lies in {rejected}"
        raise ModelError(f"{kind} {name!r}: no {_CONFIG[kind]} in {folder}{hint}")
    if weights and not weight_files(folder, kind):
        stems = " or ".join(_WEIGHT_STEMS[kind])
        raise ModelError(
            f"{kind} {name!r}: no weights in {folder}; "
            f"expected {stems}.safetensors or .bin, whole or sharded"
        )
    return folder


def _nearest_name_hint(folder: Path) -> str:
    """Suggest the sibling folder or the stored hub model with the nearest name."""
    hint = ModelFolder.suggest_sibling(folder) or did_you_mean(
        str(folder), [*embedded_guards(), *stored_models()]
    )
    return hint or "; a folder with its files or a hub id ORG/NAME would work"


def hub_cache() -> Path:
    """Return the folder in which Hugging Face libraries store hub models."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(variable):
            return Path(value).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(cache).expanduser() / "huggingface" / "hub"


def stored_models() -> list[str]:
    """Return the hub ids of the models in the cache."""
    folders = hub_cache().glob("models--*--*")
    return sorted("/".join(f.name.split("--", 2)[1:]) for f in folders)


def _from_hub_cache(
    name: str, revision: str, kind: ModelKind, *, weights: bool
) -> ModelFolder | None:
    root = hub_cache() / f"models--{name.replace('/', '--')}"
    reference = root / "refs" / (revision or "main")
    commit = revision  # a commit has no reference file: it is the snapshot's name
    if reference.is_file():
        commit = reference.read_text(encoding="utf-8").strip()
    folder = root / "snapshots" / commit
    if not commit or not (folder / _CONFIG[kind]).is_file():
        return None
    try:
        checked = _checked_folder(folder, name, kind, weights=weights)
        return ModelFolder(checked, name, commit)
    except ModelError:  # an interrupted download: the hub has the rest
        return None


def offline() -> bool:
    """Tell whether the environment forbids the network."""
    values = (os.environ.get(name, "").upper() for name in _OFFLINE_VARIABLES)
    return any(value in {"1", "ON", "YES", "TRUE"} for value in values)


def _from_hub(
    name: str, revision: str, kind: ModelKind, *, weights: bool
) -> ModelFolder:
    where = f"no folder of that name, nor in {hub_cache()}"
    hint = _nearest_name_hint(Path(name))
    if offline():
        raise ModelError(
            f"{kind} {name!r}: {where}, and downloads are off "
            f"({' or '.join(filter(os.environ.get, _OFFLINE_VARIABLES))} is set){hint}"
        )
    try:
        folder = ModelFolder.download(name, revision, pickled="*.bin", weights=weights)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{kind} {name!r}: {where}, and the hub did not give it: {reason}{hint}"
        ) from error
    checked = _checked_folder(folder, name, kind, weights=weights)
    return ModelFolder(checked, name, folder.name)
