"""Decisions: thresholds, what they cost, and operating points that can be deployed."""
