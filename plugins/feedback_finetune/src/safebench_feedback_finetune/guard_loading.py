"""Load the guard of a command, and identify it without loading it.

A guard comes in full precision, or with its linear layers in 4 bits (NF4, Dettmers et
al. 2023, "QLoRA") for GPUs that it does not fit on otherwise. `load_causal_model` also
loads the language model that answers while collecting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.torch_utils import (
    ModelFolder,
    Placement,
    load_adapters,
    quantization_options,
)
from safebench_llamaguard_marginal import (
    GuardOptions,
    LoadedGuard,
    load_guard,
    model_identity,
)

from .scorer import VerdictScorer

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from .options import SharedOptions

QUANTIZATION_EXTRA = "safebench-feedback-finetune[qlora]"
_IDENTITY_FIELDS = ("model", "revision", "weights", "adapter", "policy")


def guard_options(options: SharedOptions, adapter: str = "") -> GuardOptions:
    """Return the guard plugin's own options for those of a command."""
    return GuardOptions(
        model=options.guard,
        adapter=adapter,
        policy=options.policy,
        format=options.format,
        device=options.device,
        dtype=options.dtype,
    )


def guard_identity(options: SharedOptions, adapter: str = "") -> dict[str, Any]:
    """Return what distinguishes two guards: weights, adapter, policy, number format.

    Weights are hashed, not loaded, so that a command can refuse another guard at once.
    """
    full_identity = model_identity(guard_options(options, adapter))
    return {name: full_identity[name] for name in _IDENTITY_FIELDS} | {
        "format": options.format,
        "dtype": options.dtype,
        "quantize": options.quantize,
    }


def label_with_revision(label: str, *fingerprints: str) -> str:
    """Return a model's name with the first digits of each part's commit or hash.

    A fingerprint is ``sha256:HASH`` or ``ORG/NAME@COMMIT``; empty ones are skipped.
    """
    digits = (f.rpartition("@")[2].removeprefix("sha256:")[:12] for f in fingerprints)
    return "@".join((label, "+".join(filter(None, digits))))


def load_verdict_scorer(options: SharedOptions, adapter: str = "") -> VerdictScorer:
    """Load a command's guard, in 4 bits if it says so, with `adapter` on top of it."""
    resolved = guard_options(options, adapter)
    if options.quantize == "4bit":
        return VerdictScorer(load_quantized_guard(resolved))
    return VerdictScorer(load_guard(resolved))


def load_quantized_guard(options: GuardOptions) -> LoadedGuard:
    """Load a guard as `load_guard` does, its linear layers in 4 bits.

    The output layer keeps its precision: the verdict's logits come from it. Raises
    ModelError if bitsandbytes is missing or the model cannot be loaded.
    """
    placement = Placement.choose(options.device, options.dtype)
    return load_guard(
        options,
        form=" (4 bits)",
        network_options=quantization_options(placement, QUANTIZATION_EXTRA),
    )


def load_causal_model(
    folder: Path, label: str, device: torch.device, dtype: torch.dtype, **kwargs: Any
) -> Any:
    """Return a causal network on a device; raises ModelError in one line.

    `kwargs` go to the library, a quantization for one.
    """
    # A device map needs accelerate's hooks; on the CPU a plain load does the same.
    device_map = None if device.type == "cpu" and not kwargs else {"": device}
    return ModelFolder(folder, label).network(
        "causal_lm", dtype=dtype, device_map=device_map, **kwargs
    )


def load_adapter(network: Any, folder: Path, label: str) -> Any:
    """Return the network with the LoRA of a folder injected into its layers."""
    # The base model, not PEFT's wrapper: the scorer calls the network directly, and
    # the LoRA sits in its layers either way.
    return load_adapters(network, {"default": folder}, label).get_base_model()
