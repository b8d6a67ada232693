"""Names of what stands in an artifact's folder."""

from __future__ import annotations

KIND = "cost_model"
KIND_TFIDF = "cost_tfidf"
WHOLE = "model"  # all weights, as Hugging Face libraries load them
ADAPTER = "adapter"  # adapters and head, on a base that the manifest names
TUNED = "sft"  # the base after the supervised stage
BASELINE = "tfidf"
FACTS = "member.json"  # beside a member's weights: its seed, and what it measured
CHECKPOINTS = "checkpoints"
TUNED_CHECKPOINTS = "sft-checkpoints"


def place(number: int, total: int) -> str:
    """Return the folder of a member, within the artifact: one alone needs none."""
    return f"member-{number}" if total > 1 else ""
