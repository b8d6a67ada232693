"""What plugins share that run or train PyTorch models.

The core neither imports this package nor depends on torch or transformers: whoever
imports it declares them. Names are imported on first use, because finding a model
should not cost the import of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.lazy import lazy_exports

if TYPE_CHECKING:
    from .batching import Batcher, pad
    from .data_parallel import DataParallelTrainer, batch_of_process
    from .device import Placement
    from .hf_trainer import (
        LengthGroupedSampler,
        ProgressBarCallback,
        StepSeedCallback,
        last_checkpoint,
    )
    from .hub import ModelFolder
    from .loading import (
        load_adapters,
        model_load_errors,
        quiet_transformers,
        tokenization_errors,
    )
    from .quantization import quantization_options
    from .stored_arrays import load_arrays
    from .training_arguments import TrainingOverrides

__all__ = [
    "Batcher",
    "DataParallelTrainer",
    "LengthGroupedSampler",
    "ModelFolder",
    "Placement",
    "ProgressBarCallback",
    "StepSeedCallback",
    "TrainingOverrides",
    "batch_of_process",
    "last_checkpoint",
    "load_adapters",
    "load_arrays",
    "model_load_errors",
    "pad",
    "quantization_options",
    "quiet_transformers",
    "tokenization_errors",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Batcher": "batching",
        "DataParallelTrainer": "data_parallel",
        "batch_of_process": "data_parallel",
        "pad": "batching",
        "LengthGroupedSampler": "hf_trainer",
        "ProgressBarCallback": "hf_trainer",
        "StepSeedCallback": "hf_trainer",
        "TrainingOverrides": "training_arguments",
        "last_checkpoint": "hf_trainer",
        "ModelFolder": "hub",
        "Placement": "device",
        "load_adapters": "loading",
        "model_load_errors": "loading",
        "quiet_transformers": "loading",
        "tokenization_errors": "loading",
        "load_arrays": "stored_arrays",
        "quantization_options": "quantization",
    },
)
