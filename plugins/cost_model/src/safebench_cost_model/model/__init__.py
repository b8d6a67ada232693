"""Trained cost models and their baseline: finding, loading and running them."""
