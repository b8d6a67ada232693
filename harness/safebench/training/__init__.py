"""What learning has in common: the data's parts, the artifact folder, the report."""

from __future__ import annotations

from .job import Measure, Trained, Training

__all__ = ["Measure", "Trained", "Training"]
