"""What a trained cost model leaves in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.neural.loading import quiet

from .layout import ADAPTER, WHOLE
from .pooled import MeanCost, save_pooled
from .ready import learns_adapters, takes_means

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.training import Training

    from .bases import Base
    from .encode import Encoder
    from .network import Family
    from .options import TrainOptions
    from .platt import Platt


def save(network: Any, tokenizer: Any, folder: Path) -> None:
    """Save network and tokenizer as Hugging Face libraries load them."""
    with quiet():
        if isinstance(network, MeanCost):
            save_pooled(network, folder)
        else:
            network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def files_of(family: Family, options: TrainOptions) -> str:
    """Return the name of the folder that weights are saved to."""
    return ADAPTER if learns_adapters(family, options) else WHOLE


def describe(
    base: Base,
    family: Family,
    encoder: Encoder,
    training: Training,
    platt: Platt | None,
) -> dict[str, Any]:
    """Return what the classifier needs to load the artifact, as JSON.

    A base inside the folder (of the supervised stage) is named relative to it.
    """
    options: TrainOptions = training.options
    inside = base.folder.parent.resolve() == training.out.resolve()
    named = base.folder.name if inside else base.label
    folder = "" if inside or base.commit else str(base.folder.resolve())
    return {
        "base": {"name": named, "folder": folder, "revision": base.commit},
        "family": family,
        "files": files_of(family, options),
        "members": options.members,
        "pooling": "mean" if takes_means(family, options) else "own",
        "layers": options.layers,
        "template": encoder.template.as_json(),
        "template_sha256": encoder.template.sha256,
        "max_length": encoder.max_length,
        "calibration": platt.as_json() if platt else None,
    }
