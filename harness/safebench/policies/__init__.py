"""Policies: taxonomies of harm as versioned data files, and maps between them.

Guards and data sets name categories by different taxonomies. Metrics of categories
compare them in the guard's, into which `mapping.project` translates the ground truth.
"""

from __future__ import annotations

from .policy import Category, Policy, load_policy

__all__ = [
    "Category",
    "Policy",
    "load_policy",
]
