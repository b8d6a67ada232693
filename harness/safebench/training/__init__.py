"""Training: data for trainers of plugins, and the artifact that classifiers load.

`safebench.training.session.run_training` loads and splits the data, calls the trainer
with a `Training`, and writes what it returns, a `Trained`, to the manifest of the
artifact. Nothing here depends on torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.console import (
    check_process_group,
    is_main_process,
)
from safebench.lazy import lazy_exports
from safebench.progress import ProgressBar

if TYPE_CHECKING:
    from .artifact import (
        Artifact,
        offer_trained,
    )
    from .config import option_flags
    from .description import ArtifactDescription
    from .report import format_measures
    from .trainer import Measure, Trained, Training

__all__ = [
    "Artifact",
    "ArtifactDescription",
    "Measure",
    "ProgressBar",
    "Trained",
    "Training",
    "check_process_group",
    "format_measures",
    "is_main_process",
    "offer_trained",
    "option_flags",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Artifact": "artifact",
        "offer_trained": "artifact",
        "option_flags": "config",
        "ArtifactDescription": "description",
        "format_measures": "report",
        "Measure": "trainer",
        "Trained": "trainer",
        "Training": "trainer",
    },
)
