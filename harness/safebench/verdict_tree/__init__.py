"""Verdict trees: the exact probability of what a guard may answer, with bounds.

A generative guard answers in a small grammar. The tree holds every continuation that
is likely enough, and the probability of what was left out, so that the probability of
each verdict and label lies between two known numbers. The package needs numpy and a
model behind the `NextTokenModel` protocol; it knows no tensor library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.lazy import lazy_exports

if TYPE_CHECKING:
    from .bounds import TreeBounds
    from .canonical_tokenizations import CanonicalTokenizations
    from .explorer import Exploration, ExploreOptions, TreeExplorer
    from .grammar import Grammar
    from .label_slots import LabelSlots
    from .logits import LogitSummarizer
    from .marginals import MarginalProbabilities
    from .model import NextTokenModel
    from .session import SessionHandles, to_host
    from .sparse_explorer import SparseExplorer
    from .sparse_model import ListedTokens, SparseModel
    from .stopping import stopping_rule
    from .unread import greedy_failures
    from .vocabulary import Vocabulary

ENGINE_VERSION = 4  # part of every evidence key: raise it when recorded values change

__all__ = [
    "ENGINE_VERSION",
    "CanonicalTokenizations",
    "Exploration",
    "ExploreOptions",
    "Grammar",
    "LabelSlots",
    "ListedTokens",
    "LogitSummarizer",
    "MarginalProbabilities",
    "NextTokenModel",
    "SessionHandles",
    "SparseExplorer",
    "SparseModel",
    "TreeBounds",
    "TreeExplorer",
    "Vocabulary",
    "greedy_failures",
    "stopping_rule",
    "to_host",
]

# Lazy: `ENGINE_VERSION` is read while plugins declare themselves, without numpy.
__getattr__ = lazy_exports(
    __name__,
    {
        "TreeBounds": "bounds",
        "Exploration": "explorer",
        "ExploreOptions": "explorer",
        "TreeExplorer": "explorer",
        "Grammar": "grammar",
        "CanonicalTokenizations": "canonical_tokenizations",
        "LabelSlots": "label_slots",
        "LogitSummarizer": "logits",
        "MarginalProbabilities": "marginals",
        "NextTokenModel": "model",
        "SessionHandles": "session",
        "to_host": "session",
        "SparseExplorer": "sparse_explorer",
        "ListedTokens": "sparse_model",
        "SparseModel": "sparse_model",
        "stopping_rule": "stopping",
        "greedy_failures": "unread",
        "Vocabulary": "vocabulary",
    },
)
