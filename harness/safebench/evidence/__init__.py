"""Evidence: what a classifier records about samples, and a strategy reads later.

Evidence is stored apart from what is made of it: a new strategy is tried on a finished
run without loading the model again.
"""

from __future__ import annotations

from .base import Evidence, EvidenceBundle
from .kinds import Cost, GreedyPath, MemberLogits, Scores, SeedTree, VerdictTree

__all__ = [
    "Cost",
    "Evidence",
    "EvidenceBundle",
    "GreedyPath",
    "MemberLogits",
    "Scores",
    "SeedTree",
    "VerdictTree",
]
