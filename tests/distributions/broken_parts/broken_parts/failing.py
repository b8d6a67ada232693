"""Raises when it is imported, over several lines."""

raise RuntimeError("the driver is\n  too old")
