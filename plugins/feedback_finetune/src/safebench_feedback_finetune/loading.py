"""Load causal language models: one that answers, or a guard in 4 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers

from safebench.neural.loading import one_line, quiet

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def load_causal(
    folder: Path, label: str, device: torch.device, dtype: torch.dtype, **more: Any
) -> Any:
    """Return a causal network on a device; raises ModelError in one line.

    `more` goes to ``from_pretrained``, such as a quantization.
    """
    load: Any = transformers.AutoModelForCausalLM.from_pretrained
    placed = None if device.type == "cpu" and not more else {"": device}
    with quiet(), one_line(label):
        return load(
            folder,
            dtype=dtype,
            device_map=placed,
            local_files_only=True,
            trust_remote_code=False,
            **more,
        )


def put_adapter(network: Any, folder: Path, label: str) -> Any:
    """Return a network with the LoRA of a folder in it."""
    import peft

    with quiet(), one_line(label):
        return peft.PeftModel.from_pretrained(network, folder).get_base_model()
