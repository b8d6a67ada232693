"""Teach a guard from what it let through, behind a gate."""
