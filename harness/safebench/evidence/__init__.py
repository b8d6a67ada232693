"""What classifiers show strategies about how they reached a verdict."""

from __future__ import annotations

from .base import Evidence
from .kinds import Cost, GreedyPath, MemberLogits, Scores, SeedTree, VerdictTree

__all__ = [
    "Cost",
    "Evidence",
    "GreedyPath",
    "MemberLogits",
    "Scores",
    "SeedTree",
    "VerdictTree",
]
