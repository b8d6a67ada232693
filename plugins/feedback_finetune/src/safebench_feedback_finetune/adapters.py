"""LoRA adapters between nothing and all of their effect: the scale alpha."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from safebench.errors import ModelError, OptionError

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
_OUTER = ("lora_B", "lora_embedding_B")  # the update is B A: linear in B


def scale_adapter(network: Any, alpha: float) -> int:
    """Let the active LoRA of a network have `alpha` of its effect; 0 is the base.

    Absolute: a second call replaces the first. Returns how many layers it scaled, and
    raises ModelError if the network has none.
    """
    from peft.tuners.lora.layer import LoraLayer

    _check(alpha)
    layers = [m for m in network.modules() if isinstance(m, LoraLayer)]
    if not layers:
        raise ModelError("this guard has no LoRA to scale; load it with an adapter")
    for layer in layers:
        for name in layer.active_adapters:
            layer.set_scale(name, alpha)
    return len(layers)


def write_scaled(adapter: Path, alpha: float, out: Path) -> None:
    """Write a copy of a LoRA folder that has `alpha` of its effect when loaded.

    Raises ModelError for an adapter with trained parts that are not LoRA: these have
    no scale.
    """
    from safetensors.torch import load_file, save_file

    _check(alpha)
    if not (adapter / WEIGHTS).is_file() or not (adapter / CONFIG).is_file():
        raise ModelError(f"adapter {adapter}: no {WEIGHTS} and {CONFIG} in it")
    weights = load_file(adapter / WEIGHTS)
    if whole := sorted(name for name in weights if "lora_" not in name):
        raise ModelError(f"adapter {adapter}: {whole[0]} is no LoRA and has no scale")
    scaled = {
        name: weight * alpha if any(part in name for part in _OUTER) else weight
        for name, weight in weights.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file(scaled, out / WEIGHTS, metadata={"format": "pt"})
    shutil.copyfile(adapter / CONFIG, out / CONFIG)
    readable(out)


def readable(folder: Path) -> None:
    """Let those read a LoRA's weights who may read its settings.

    The library that writes weights leaves them to their owner alone.
    """
    shutil.copymode(folder / CONFIG, folder / WEIGHTS)


def _check(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise OptionError(f"LoRA scale: from 0 to 1, got {alpha:g}")
