"""Find a cost model's files and what its manifest says; nothing heavy is imported."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, OptionError
from safebench.training.artifact import ARTIFACT, read_artifact, weights_hash

from .bases import find_model
from .layout import ADAPTER, BASELINE, KIND, KIND_TFIDF
from .template import BEAVER, TEMPLATES, template_from

if TYPE_CHECKING:
    from .options import BaselineOptions, CostOptions
    from .template import Template

FORSCORE = "ForScore"  # the ending of the class that PKU's own cost models name


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A model folder, with an adapter's if there is one, and how texts are read.

    `weights` tells two models apart. `max_length` 0: not said.
    """

    folder: Path
    label: str
    commit: str
    weights: str
    template: Template
    adapter: Path | None = None
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
    if (folder / ARTIFACT).is_file():
        return _from_artifact(folder, options)
    return _from_checkpoint(options)


def _from_artifact(folder: Path, options: CostOptions) -> Found:
    manifest = read_artifact(folder, KIND)
    files = folder / manifest["files"]
    if not files.is_dir():
        raise ModelError(f"{folder}: its folder {manifest['files']} is gone")
    template = template_from(manifest["template"])
    if options.template != "auto" and TEMPLATES[options.template] != template:
        raise OptionError(
            f"cost_model: {folder} was trained on its own template; leave template=auto"
        )
    adapter = files if manifest["files"] == ADAPTER else None
    return Found(
        folder=_base_of(folder, manifest["base"]) if adapter else files,
        label=folder.resolve().name,
        commit="",
        weights=f"sha256:{weights_hash(files)}",
        template=template,
        adapter=adapter,
        max_length=manifest["max_length"],
        pooling=manifest["pooling"],
        layers=manifest["layers"],
        calibration=manifest["calibration"] or {},
    )


def _base_of(folder: Path, base: dict[str, str]) -> Path:
    """Return the folder of the base under an artifact's adapters."""
    inside = folder / base["name"]
    if (inside / "config.json").is_file():
        return inside
    named = base["folder"] or base["name"]
    return find_model(named, "" if base["folder"] else base["revision"]).folder


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
