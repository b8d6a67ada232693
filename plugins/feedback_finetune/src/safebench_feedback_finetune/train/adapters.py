"""Scale a LoRA adapter by alpha, from 0 (the base guard) to 1, in memory or on disk."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, OptionError
from safebench.torch_utils import ModelFolder

from .training_folder import WEIGHTS_FILE

if TYPE_CHECKING:
    from pathlib import Path

CONFIG_FILE = "adapter_config.json"
# A LoRA adds the product B A to a weight: scaling B alone scales the whole update.
_LORA_B_NAMES = ("lora_B", "lora_embedding_B")


def scale_adapter(network: Any, alpha: float) -> int:
    """Set the scale of a network's active LoRA, and return how many layers it has.

    The scale is absolute: a second call replaces the first. Raises ModelError if the
    network has no LoRA.
    """
    from peft.tuners.lora.layer import LoraLayer

    _check_scale(alpha)
    layers = [m for m in network.modules() if isinstance(m, LoraLayer)]
    if not layers:
        raise ModelError("this guard has no LoRA to scale; load it with an adapter")
    for layer in layers:
        # Switched off at 0: 0 times a weight that is no number would be none either,
        # and the base guard would be judged by a training that diverged.
        if layer.disable_adapters == (alpha > 0):
            layer.enable_adapters(alpha > 0)
        for name in layer.active_adapters:
            layer.set_scale(name, alpha)
    return len(layers)


def write_scaled_adapter(adapter: Path, alpha: float, out: Path) -> None:
    """Write a copy of a LoRA folder, scaled by `alpha`.

    Raises ModelError for an adapter with trained weights that are not LoRA, such as a
    whole output layer: they replace the base's weights and cannot be scaled.
    """
    from safetensors.torch import save_file

    _check_scale(alpha)
    if not (adapter / WEIGHTS_FILE).is_file() or not (adapter / CONFIG_FILE).is_file():
        raise ModelError(
            f"adapter {adapter}: no {WEIGHTS_FILE} and {CONFIG_FILE} in it"
        )
    weights = ModelFolder(adapter, adapter.name).tensors(WEIGHTS_FILE)
    if others := sorted(name for name in weights if "lora_" not in name):
        raise ModelError(f"adapter {adapter}: {others[0]} is no LoRA and has no scale")
    scaled = {
        name: weight * alpha if any(part in name for part in _LORA_B_NAMES) else weight
        for name, weight in weights.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file(scaled, out / WEIGHTS_FILE, metadata={"format": "pt"})
    shutil.copyfile(adapter / CONFIG_FILE, out / CONFIG_FILE)
    copy_permissions(out)


def copy_permissions(folder: Path) -> None:
    """Give the weights of an adapter the permissions of its config.

    safetensors writes files that only their owner can read.
    """
    shutil.copymode(folder / CONFIG_FILE, folder / WEIGHTS_FILE)


def _check_scale(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise OptionError(f"LoRA scale: from 0 to 1, got {alpha:g}")
