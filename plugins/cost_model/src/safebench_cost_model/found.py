"""Find a cost model's files and what its manifest says; nothing heavy is imported."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, OptionError
from safebench.training.artifact import ARTIFACT, read_artifact, weights_hash

from .bases import find_model
from .folders import base_of, networks_in
from .layout import ADAPTER, BASELINE, KIND, KIND_TFIDF
from .template import BEAVER, TEMPLATES, template_from

if TYPE_CHECKING:
    from .options import BaselineOptions, CostOptions
    from .template import Template

FORSCORE = "ForScore"  # the ending of the class that PKU's own cost models name


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The folders of one or more networks, and how texts are read.

    With `adapters`, each folder holds adapters for the base in `folder`, which is the
    folder of the first network otherwise. `weights` tells two models apart.
    `max_length` 0: not said.
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


def find_cost_model(options: CostOptions) -> Found:
    """Return where the model of the options is; raises ModelError if nowhere."""
    if not options.model:
        raise OptionError(
            "cost_model: which one? --model DIR, a folder that safebench train "
            "cost_model wrote, or a hub id of a classifier with one output"
        )
    folder = Path(options.model).expanduser()
    bare = folder.is_dir() and not (folder / "config.json").is_file()
    if bare or (folder / ARTIFACT).is_file():
        return _from_artifact(folder, options)
    return _from_checkpoint(options)


def _from_artifact(folder: Path, options: CostOptions) -> Found:
    manifest = read_artifact(folder, KIND)
    try:
        template = template_from(manifest["template"])
        networks = networks_in(folder, manifest)
        adapters = manifest["files"] == ADAPTER
        found = Found(
            folder=base_of(folder, manifest["base"]) if adapters else networks[0],
            networks=networks,
            label=folder.resolve().name,
            commit="",
            weights=f"sha256:{_hash(networks)}",
            template=template,
            adapters=adapters,
            max_length=manifest["max_length"],
            pooling=manifest["pooling"],
            layers=manifest["layers"],
            calibration=manifest["calibration"] or {},
        )
    except (KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{folder / ARTIFACT} is damaged ({type(error).__name__}: {reason}): copy "
            "it again from where it was trained"
        ) from error
    if options.template != "auto" and TEMPLATES[options.template] != template:
        raise OptionError(
            f"cost_model: {folder} was trained on its own template; leave template=auto"
        )
    return found


def _hash(folders: tuple[Path, ...]) -> str:
    """Return the hash of one folder's weights, or of those of all in their order."""
    found = [weights_hash(folder) for folder in folders]
    if len(found) == 1:
        return found[0]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def _from_checkpoint(options: CostOptions) -> Found:
    found = find_model(options.model, options.revision)
    config = json.loads((found.folder / "config.json").read_text(encoding="utf-8"))
    made_for = str(next(iter(config.get("architectures") or ()), ""))
    if options.template != "auto":
        template = TEMPLATES[options.template]
    elif made_for.endswith(FORSCORE):
        template = BEAVER
    else:
        raise OptionError(
            f"cost_model: {found.label} carries no template; say which it was trained "
            f"on: template={', '.join(TEMPLATES)}"
        )
    return Found(
        folder=found.folder,
        networks=(found.folder,),
        label=found.label,
        commit=found.commit,
        weights=found.commit or f"sha256:{weights_hash(found.folder)}",
        template=template,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBaseline:
    """A baseline's folder, its name, and what tells it from others."""

    folder: Path
    label: str
    calibration: dict[str, Any]
    identity: dict[str, Any]


def read_baseline(options: BaselineOptions) -> FoundBaseline:
    """Return where the baseline is; raises ModelError or OptionError."""
    if not options.model:
        raise OptionError(
            "cost_tfidf: which one? --model DIR, a folder that safebench train "
            "cost_model --base tfidf wrote"
        )
    folder = Path(options.model).expanduser()
    manifest = read_artifact(folder, KIND_TFIDF)
    label = folder.resolve().name
    calibration = manifest["calibration"] or {}
    return FoundBaseline(
        folder=folder / BASELINE,
        label=label,
        calibration=calibration,
        identity={
            "model": label,
            "weights": f"sha256:{weights_hash(folder / BASELINE)}",
            "words": manifest["words_sha256"],
            "calibration": calibration,
        },
    )
