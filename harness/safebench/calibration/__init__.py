"""Calibration: maps from scores to probabilities, fitted on the calibration part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.lazy import lazy_exports

from .base import Calibrator

if TYPE_CHECKING:
    from .methods import Platt, Temperature

__all__ = ["Calibrator", "Platt", "Temperature"]

__getattr__ = lazy_exports(__name__, dict.fromkeys(("Platt", "Temperature"), "methods"))
