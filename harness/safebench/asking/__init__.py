"""One conversation at a time: asked, recorded, judged and answered."""

from __future__ import annotations

from .answer import Answer, Share
from .desk import Desk, Recorded
from .question import Question

__all__ = ["Answer", "Desk", "Question", "Recorded", "Share"]
