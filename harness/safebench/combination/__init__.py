"""Combination: one classifier made of several, from what they said of each sample."""
