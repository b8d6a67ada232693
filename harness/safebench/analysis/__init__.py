"""Analysis of a finished run beyond its metrics, from stored predictions alone.

Uncertainty and the errors that it finds, selective prediction, calibration, slices,
hard examples, and agreement between strategies and between members of an ensemble.
"""

from __future__ import annotations

from .run_analysis import CombinationAnalysis, RunAnalysis, analyze_run

__all__ = ["CombinationAnalysis", "RunAnalysis", "analyze_run"]
