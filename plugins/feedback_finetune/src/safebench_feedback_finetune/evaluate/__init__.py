"""Evaluate the base guard, its re-tuned threshold, and the fine-tuned guard.

`evaluation` runs `feedback evaluate`, `measurement` has the metrics and comparisons,
`report` turns them into result rows and tables.
"""
