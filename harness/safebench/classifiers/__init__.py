"""Classifiers: what a guard does for safebench, and the guards that the core ships."""

from __future__ import annotations

from safebench.evidence.recording import Recording, Trace

from .base import Classifier

__all__ = ["Classifier", "Recording", "Trace"]
