"""What plugins share that run or train PyTorch models.

The core neither imports this package nor depends on torch or transformers: whoever
imports it declares them. Names are imported on first use, because finding a model
should not cost the import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.lazy import lazy_exports

if TYPE_CHECKING:
    from .batching import (
        Batcher,
        default_batch_tokens,
        pad_left,
        pad_right,
        padding_share,
        plan_batches,
    )
    from .device import (
        VISIBLE_DEVICES,
        choose_threads,
        pick_device,
        pick_dtype,
        pick_precision,
        restrict_to_gpu,
        visible_gpus,
    )
    from .folder_checks import read_model_json
    from .hf_trainer import (
        RESERVED_ARGUMENTS,
        ProgressBarCallback,
        StepSeedCallback,
        build_training_arguments,
        check_training_arguments,
        last_checkpoint,
        training_errors,
    )
    from .hub import (
        ModelFolder,
        download_snapshot,
        hub_failure,
        is_path,
        suggest_sibling,
    )
    from .loading import (
        load_adapters,
        load_config,
        load_network,
        load_tensors,
        load_tokenizer,
        model_load_errors,
        quiet_transformers,
        tokenization_errors,
    )
    from .minilm import MINILM, find_minilm
    from .samplers import LengthGroupedSampler
    from .stored_arrays import load_arrays

__all__ = [
    "MINILM",
    "RESERVED_ARGUMENTS",
    "VISIBLE_DEVICES",
    "Batcher",
    "LengthGroupedSampler",
    "ModelFolder",
    "ProgressBarCallback",
    "StepSeedCallback",
    "build_training_arguments",
    "check_training_arguments",
    "choose_threads",
    "default_batch_tokens",
    "download_snapshot",
    "find_minilm",
    "hub_failure",
    "is_path",
    "last_checkpoint",
    "load_adapters",
    "load_arrays",
    "load_config",
    "load_network",
    "load_tensors",
    "load_tokenizer",
    "model_load_errors",
    "pad_left",
    "pad_right",
    "padding_share",
    "pick_device",
    "pick_dtype",
    "pick_precision",
    "plan_batches",
    "quiet_transformers",
    "read_model_json",
    "restrict_to_gpu",
    "suggest_sibling",
    "tokenization_errors",
    "training_errors",
    "visible_gpus",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Batcher": "batching",
        "default_batch_tokens": "batching",
        "pad_left": "batching",
        "pad_right": "batching",
        "padding_share": "batching",
        "plan_batches": "batching",
        "VISIBLE_DEVICES": "device",
        "choose_threads": "device",
        "pick_device": "device",
        "pick_dtype": "device",
        "pick_precision": "device",
        "restrict_to_gpu": "device",
        "visible_gpus": "device",
        "read_model_json": "folder_checks",
        "RESERVED_ARGUMENTS": "hf_trainer",
        "ProgressBarCallback": "hf_trainer",
        "StepSeedCallback": "hf_trainer",
        "build_training_arguments": "hf_trainer",
        "check_training_arguments": "hf_trainer",
        "last_checkpoint": "hf_trainer",
        "training_errors": "hf_trainer",
        "ModelFolder": "hub",
        "download_snapshot": "hub",
        "hub_failure": "hub",
        "is_path": "hub",
        "suggest_sibling": "hub",
        "load_adapters": "loading",
        "load_config": "loading",
        "load_network": "loading",
        "load_tensors": "loading",
        "load_tokenizer": "loading",
        "model_load_errors": "loading",
        "quiet_transformers": "loading",
        "tokenization_errors": "loading",
        "MINILM": "minilm",
        "find_minilm": "minilm",
        "LengthGroupedSampler": "samplers",
        "load_arrays": "stored_arrays",
    },
)
