"""What a trained cost model leaves in its folder, and how it is read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.neural.loading import quiet
from safebench.training.process import is_main_process

from .layout import ADAPTER, WHOLE
from .pooled import MeanCost, save_pooled

if TYPE_CHECKING:
    from pathlib import Path

    from .bases import Base
    from .platt import Platt
    from .template import Template


def save(network: Any, tokenizer: Any, out: Path, *, lora: bool) -> str:
    """Save the network as Hugging Face libraries load it; return the folder's name.

    In a launched group, the main process alone writes.
    """
    where = ADAPTER if lora else WHOLE
    if not is_main_process():
        return where
    with quiet():
        if isinstance(network, MeanCost):
            save_pooled(network, out / where)
        else:
            network.save_pretrained(out / where)
        tokenizer.save_pretrained(out / where)
    return where


def describe(
    *,
    base: Base,
    family: str,
    files: str,
    pooling: str,
    layers: int,
    template: Template,
    max_length: int,
    platt: Platt | None,
    out: Path,
) -> dict[str, Any]:
    """Return what the classifier needs to load the artifact, as JSON.

    A base inside the folder (of the supervised stage) is named relative to it.
    """
    inside = base.folder.parent.resolve() == out.resolve()
    named = base.folder.name if inside else base.label
    folder = "" if inside or base.commit else str(base.folder.resolve())
    return {
        "base": {"name": named, "folder": folder, "revision": base.commit},
        "family": family,
        "files": files,
        "pooling": pooling,
        "layers": layers,
        "template": template.as_json(),
        "template_sha256": template.sha256,
        "max_length": max_length,
        "calibration": platt.as_json() if platt else None,
    }
