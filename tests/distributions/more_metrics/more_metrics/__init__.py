"""Metrics of a plugin."""
