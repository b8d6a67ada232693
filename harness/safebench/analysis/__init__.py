"""What a finished run says beyond its metrics: where a guard is unsure, and why."""

from __future__ import annotations

from .analyse import Analysis, Combination, analyse

__all__ = ["Analysis", "Combination", "analyse"]
