"""Scores and uncertainties from the logits of an ensemble's members."""
