"""Calibration: maps from scores to probabilities, fitted on the calibration part."""

from __future__ import annotations

from .base import Calibrator

__all__ = ["Calibrator"]
