"""Trained encoders and baselines: finding, loading and running them."""
