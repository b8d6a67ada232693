"""Which cost model the options name, and what identifies it.

A name is the folder of a training, a checkpoint with one output, or a hub id. Needs no
torch: evidence that is recorded already is found by the identity alone.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench import Capabilities
from safebench.errors import ModelError, OptionError, did_you_mean
from safebench.torch_utils import ModelFolder
from safebench.training import Artifact, offer_trained
from safebench_cost_model.options import MINILM, STACK, TFIDF

from .artifact import (
    ADAPTER_FOLDER,
    BASELINE_FOLDER,
    ENCODER_FOLDER,
    KIND,
    KIND_STACK,
    KIND_TFIDF,
    STACK_FILE,
    member_folder_name,
)
from .template import BEAVER, TEMPLATES, template_from_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safebench_cost_model.options import BaselineOptions, CostOptions, StackOptions

    from .template import Template

PKU_CLASS_SUFFIX = "ForScore"  # of the class that PKU's own cost models name
# Patterns of files without which nothing can be loaded.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json")
NETWORK_FILES = ("config.json", "*.safetensors", "tokenizer.json")
_ADVICE = "copy it again from where it was trained"
# Files that, beside the weights, change what a model says.
_CONFIG_FILES = (
    *("config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt"),
)
_RECORD_OPTIONS = ("dtype", "template", "max_length", "batch_tokens")
_TRAIN_TFIDF = "safebench train cost_model --base tfidf"
_TRAIN_STACK = "safebench train cost_model --base stack"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModelLocation:
    """The folders of one or more networks, and how texts are read.

    With `adapters`, each folder holds adapters for the base in `folder`, which is the
    folder of the first network otherwise. `weights` identifies them.
    `max_length` 0: the model does not say. `note` says what is not known of the base.
    """

    folder: Path
    networks: tuple[Path, ...]
    label: str
    commit: str
    weights: str
    template: Template
    adapters: bool = False
    max_length: int = 0
    pooling: str = "own"
    layers: int = 0
    calibration: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineLocation:
    """The folder of a baseline or stack, its name, and what identifies it."""

    folder: Path
    label: str
    calibration: dict[str, Any]
    identity: dict[str, Any]
    max_length: int = 0


def find_base(name: str, revision: str = "") -> ModelFolder:
    """Return where `name` (folder, hub id or ``minilm``) is, or raise `ModelError`."""
    advice = did_you_mean(name, (MINILM, TFIDF, STACK)) or (
        "; a folder, a hub id ORG/NAME or minilm would work"
    )
    model = ModelFolder.find(name, revision, advice=advice)
    if not (model.folder / "config.json").is_file():
        raise ModelError(f"model {name!r}: no config.json in that folder")
    return model


def find_cost_model(options: CostOptions) -> CostModelLocation:
    """Return where the model of the options is.

    Raises `ModelError` if it is nowhere or not whole, `OptionError` if the options do
    not say how it reads texts.
    """
    if not options.model:
        raise OptionError(
            "cost_model: which one? --model DIR, a folder that safebench train "
            "cost_model wrote, or a hub id of a classifier with one output"
            + offer_trained(KIND)
        )
    folder = Path(options.model).expanduser()
    # A folder without either file is taken for a training's, whose message is better.
    is_bare = folder.is_dir() and not (folder / "config.json").is_file()
    if is_bare or Artifact(folder).path.is_file():
        return _from_artifact(ModelFolder(folder, folder.resolve().name), options)
    advice = "; a folder, a hub id ORG/NAME or minilm would work"
    model = ModelFolder.find(options.model, options.revision, advice=advice)
    if Artifact(model.folder).path.is_file():
        return _from_artifact(model, options)
    return _from_checkpoint(options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the manifest of an artifact says; KeyError or TypeError if it is damaged."""

    template: Template
    files: str
    members: int
    base: dict[str, Any]
    max_length: int
    pooling: str
    layers: int
    calibration: dict[str, Any]

    @classmethod
    def of(cls, folder: Path, manifest: dict[str, Any]) -> _Stored:
        """Read a manifest; raises `ModelError` if it lacks what is needed."""
        try:
            stored = cls(
                template=template_from_json(manifest["template"]),
                files=manifest["files"],
                # Artifacts of one network may come from before there were members.
                members=manifest.get("members", 1),
                base=manifest["base"] if manifest["files"] == ADAPTER_FOLDER else {},
                max_length=manifest["max_length"],
                pooling=manifest["pooling"],
                layers=manifest["layers"],
                calibration=manifest["calibration"] or {},
            )
            stored.check()
        except (KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{Artifact(folder).path} is damaged ({type(error).__name__}: "
                f"{reason}): {_ADVICE}"
            ) from error
        return stored

    def check(self) -> None:
        """Raise KeyError or TypeError for what is no text, number or object."""
        kinds = {"files": str, "members": int, "pooling": str, "max_length": int}
        values = {name: (getattr(self, name), kind) for name, kind in kinds.items()}
        if self.files == ADAPTER_FOLDER:
            names = ("name", "folder", "revision")
            values |= {f"base {name}": (self.base[name], str) for name in names}
        for name, (value, kind) in values.items():
            if not isinstance(value, kind):
                found = type(value).__name__
                raise TypeError(f"{name} is a {found}, not a {kind.__name__}")


def _from_artifact(model: ModelFolder, options: CostOptions) -> CostModelLocation:
    """Return where an artifact is, which was trained here or pushed to the hub."""
    folder = model.folder
    stored = _Stored.of(folder, Artifact(folder).finished(KIND))
    networks = _network_folders(folder, stored)
    adapters = stored.files == ADAPTER_FOLDER
    base, note = networks[0], ""
    if adapters:
        base, note = _find_base_of(folder, stored.base)
    # Costs under another template would mean something else.
    if options.template != "auto" and TEMPLATES[options.template] != stored.template:
        raise OptionError(
            f"cost_model: {folder} was trained on its own template; leave template=auto"
        )
    return CostModelLocation(
        folder=base,
        networks=networks,
        label=model.label,
        commit=model.commit,
        weights=f"sha256:{_combined_hash(networks)}",
        template=stored.template,
        adapters=adapters,
        max_length=stored.max_length,
        pooling=stored.pooling,
        layers=stored.layers,
        calibration=stored.calibration,
        note=note,
    )


def _from_checkpoint(options: CostOptions) -> CostModelLocation:
    model = find_base(options.model, options.revision)
    config = model.read_json("config.json")
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    if options.template != "auto":
        template = TEMPLATES[options.template]
    elif architecture.endswith(PKU_CLASS_SUFFIX):
        template = BEAVER
    else:
        raise OptionError(
            f"cost_model: {model.label} carries no template; say which it was trained "
            f"on: template={', '.join(TEMPLATES)}"
        )
    return CostModelLocation(
        folder=model.folder,
        networks=(model.folder,),
        label=model.label,
        commit=model.commit,
        weights=model.commit or f"sha256:{Artifact(model.folder).weights_hash()}",
        template=template,
    )


def _network_folders(folder: Path, stored: _Stored) -> tuple[Path, ...]:
    """Return the folder of each member; raise for the first that is not whole."""
    total, files = stored.members, stored.files
    folders = tuple(
        folder / member_folder_name(i + 1, total) / files for i in range(total)
    )
    required = ADAPTER_FILES if files == ADAPTER_FOLDER else NETWORK_FILES
    for path in folders:
        _check_folder(folder, path, required)
    return folders


def _find_base_of(folder: Path, base: dict[str, Any]) -> tuple[Path, str]:
    """Return the folder of the base under an artifact's adapters, and a note or "".

    Raises `ModelError` if it is gone, or is another one than they were trained on.
    """
    # The supervised stage left it beside them; a name with a slash is a hub id, of what
    # was pushed, and never a path: a manifest can come from anybody.
    is_own = not base["folder"] and not base["revision"]
    if is_own and "/" not in base["name"]:
        inside = folder / Path(base["name"]).name
        _check_folder(folder, inside, NETWORK_FILES)
        model = ModelFolder(inside, f"{folder.resolve().name}/{inside.name}")
    else:
        name = base["folder"] or base["name"]
        try:
            model = find_base(name, "" if base["folder"] else base["revision"])
        except ModelError as error:
            raise ModelError(
                f"{folder} holds adapters for {base['name']}, which is not there any "
                f"more: {error.message}"
            ) from error
    # Its tokenizer lies beside its adapters, and it has a template of its own.
    own = ("chat_template", "tokenizer_config")
    return model.folder, model.check_base(base, f"cost model {folder}", own)


def _check_folder(artifact: Path, folder: Path, required: tuple[str, ...]) -> None:
    """Raise `ModelError` if a folder within an artifact is gone, or lacks files."""
    name = folder.relative_to(artifact)
    if not folder.is_dir():
        raise ModelError(f"{artifact}: its folder {name} is gone; {_ADVICE}")
    missing = [pattern for pattern in required if not any(folder.glob(pattern))]
    if missing:
        raise ModelError(f"{artifact}: its folder {name} lacks {missing[0]}; {_ADVICE}")


def _combined_hash(folders: tuple[Path, ...]) -> str:
    """Return the hash of one folder's weights, or of those of all in their order."""
    hashes = [Artifact(folder).weights_hash() for folder in folders]
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def cost_model_identity(options: CostOptions) -> dict[str, Any]:
    """Return the weights' hash, template, constants and record options, as JSON."""
    location = find_cost_model(options)
    return {
        "model": location.label,
        "revision": location.commit,
        "weights": location.weights,
        "template": location.template.sha256,
        "calibration": location.calibration,
        "record": {name: getattr(options, name) for name in _RECORD_OPTIONS},
        "noted_files": {} if location.commit else _file_hashes(location),
    }


def cost_model_capabilities(options: CostOptions) -> Capabilities:
    """Return what a cost model answers, with a note where its base is not known."""
    note = find_cost_model(options).note
    return Capabilities(tasks=frozenset({"response_harm"}), note=note)


def _file_hashes(location: CostModelLocation) -> dict[str, str]:
    """Return the SHA-256 (16 hex digits) of each small file that shapes costs.

    The key of evidence has held the weights alone since the first version.
    """
    folders = dict.fromkeys((*location.networks, location.folder))
    root = location.folder if len(folders) == 1 else location.networks[0].parent
    return _config_hashes(root, folders)


def _config_hashes(root: Path, folders: Iterable[Path]) -> dict[str, str]:
    """Return the hashes of the configuration files in folders, by path below `root`."""
    files = [p for f in folders for name in _CONFIG_FILES for p in sorted(f.glob(name))]
    return {
        os.path.relpath(path, root): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in files
    }


def _find_trained(
    options: BaselineOptions | StackOptions, name: str, kind: str, command: str
) -> tuple[Path, str, dict[str, Any]]:
    """Return folder, label and manifest of what `command` has trained.

    Raises `OptionError` without a model, `ModelError` for another one.
    """
    if not options.model:
        raise OptionError(
            f"{name}: which one? --model DIR, a folder that {command} wrote"
            + offer_trained(kind)
        )
    advice = f"; train one with {command}{offer_trained(kind)}"
    found = ModelFolder.find(
        options.model, options.revision, packaged=False, advice=advice
    )
    manifest = Artifact(found.folder).finished(kind, command)
    return found.folder, found.label, manifest


def find_baseline(options: BaselineOptions) -> BaselineLocation:
    """Return where the baseline is; raises `ModelError` or `OptionError`."""
    folder, label, manifest = _find_trained(
        options, "cost_tfidf", KIND_TFIDF, _TRAIN_TFIDF
    )
    calibration = manifest["calibration"] or {}
    return BaselineLocation(
        folder=folder / BASELINE_FOLDER,
        label=label,
        calibration=calibration,
        identity={
            "model": label,
            "weights": f"sha256:{Artifact(folder / BASELINE_FOLDER).weights_hash()}",
            "words": manifest["words_sha256"],
            "calibration": calibration,
        },
    )


def baseline_identity(options: BaselineOptions) -> dict[str, Any]:
    """Return the hash of a baseline's words, its weights and constants, as JSON."""
    return find_baseline(options).identity


def find_stack(options: StackOptions) -> BaselineLocation:
    """Return where the stack is; raises `ModelError` or `OptionError`."""
    folder, label, manifest = _find_trained(
        options, "cost_stack", KIND_STACK, _TRAIN_STACK
    )
    calibration = manifest["calibration"] or {}
    encoder = folder / ENCODER_FOLDER
    _check_folder(folder, encoder, NETWORK_FILES)
    if not (folder / STACK_FILE).is_file():
        raise ModelError(f"{folder}: its file {STACK_FILE} is gone; {_ADVICE}")
    return BaselineLocation(
        folder=folder,
        label=label,
        calibration=calibration,
        identity={
            "model": label,
            "weights": f"sha256:{Artifact(folder).weights_hash()}",
            "words": manifest["words_sha256"],
            "files": _config_hashes(folder, (encoder,)),
            "max_length": manifest["max_length"],
            "calibration": calibration,
        },
        max_length=manifest["max_length"],
    )


def stack_identity(options: StackOptions) -> dict[str, Any]:
    """Return the hashes of a stack's parts, its constants and options, as JSON."""
    names = ("dtype", "batch_tokens")
    chosen = {name: getattr(options, name) for name in names}
    return find_stack(options).identity | {"options": chosen}
