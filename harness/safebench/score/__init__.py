"""Scoring one conversation at a time, with models that stay loaded."""

from __future__ import annotations

from .conversation import Conversation
from .result import CategoryScore, ScoreResult
from .service import RecordedSample, ScoringService

__all__ = [
    "CategoryScore",
    "Conversation",
    "RecordedSample",
    "ScoreResult",
    "ScoringService",
]
