"""Readings of members' logits: pooled scores, and how much members disagree."""
