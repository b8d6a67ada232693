"""Training: data for trainers of plugins, and the artifact that classifiers load.

`safebench.training.session.run_training` loads and splits the data, calls the trainer
with a `Training`, and writes what it returns, a `Trained`, to the manifest of the
artifact. Nothing here depends on torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.console import is_main_process
from safebench.lazy import lazy_exports
from safebench.progress import ProgressBar

if TYPE_CHECKING:
    from .artifact import (
        ARTIFACT_MANIFEST,
        SCHEMA_VERSION,
        load_manifest,
        read_artifact,
        weights_hash,
    )
    from .flags import option_flags
    from .report import format_measures
    from .split import group_hash
    from .trainer import Measure, Trained, Training

__all__ = [
    "ARTIFACT_MANIFEST",
    "SCHEMA_VERSION",
    "Measure",
    "ProgressBar",
    "Trained",
    "Training",
    "format_measures",
    "group_hash",
    "is_main_process",
    "load_manifest",
    "option_flags",
    "read_artifact",
    "weights_hash",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "ARTIFACT_MANIFEST": "artifact",
        "SCHEMA_VERSION": "artifact",
        "Measure": "trainer",
        "Trained": "trainer",
        "Training": "trainer",
        "format_measures": "report",
        "group_hash": "split",
        "load_manifest": "artifact",
        "option_flags": "flags",
        "read_artifact": "artifact",
        "weights_hash": "artifact",
    },
)
