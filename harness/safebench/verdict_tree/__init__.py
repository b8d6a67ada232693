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
    from .automaton import compile_grammar
    from .bounds import Bounds, LabelPositions, TreeBounds
    from .explorer import Exploration, ExploreOptions, TreeExplorer
    from .grammar import (
        Grammar,
        llama_guard,
        wildguard,
    )
    from .label_slots import CanonicalTokenizations, LabelSlots
    from .logits import (
        FLOOR_SLACK,
        LOWEST_LOGIT,
        LogitQuery,
        LogitSummary,
        filter_likely,
        merge_listed,
        rows_by_state,
        summarize_logits,
    )
    from .model import NextTokenModel
    from .monte_carlo import label_estimate, level_estimate, position_estimate
    from .session import SessionHandles, to_host
    from .stopping import DecisionStop, GapStop, StoppingRule
    from .tree import GREEDY
    from .unread import greedy_failures, unread_labels
    from .vocabulary import TokenTransitions, Vocabulary

ENGINE_VERSION = 2  # part of every evidence key: raise it when recorded values change

__all__ = [
    "ENGINE_VERSION",
    "FLOOR_SLACK",
    "GREEDY",
    "LOWEST_LOGIT",
    "Bounds",
    "CanonicalTokenizations",
    "DecisionStop",
    "Exploration",
    "ExploreOptions",
    "GapStop",
    "Grammar",
    "LabelPositions",
    "LabelSlots",
    "LogitQuery",
    "LogitSummary",
    "NextTokenModel",
    "SessionHandles",
    "StoppingRule",
    "TokenTransitions",
    "TreeBounds",
    "TreeExplorer",
    "Vocabulary",
    "compile_grammar",
    "filter_likely",
    "greedy_failures",
    "label_estimate",
    "level_estimate",
    "llama_guard",
    "merge_listed",
    "position_estimate",
    "rows_by_state",
    "summarize_logits",
    "to_host",
    "unread_labels",
    "wildguard",
]

# Lazy: `ENGINE_VERSION` is read while plugins declare themselves, without numpy.
__getattr__ = lazy_exports(
    __name__,
    {
        "compile_grammar": "automaton",
        "Bounds": "bounds",
        "LabelPositions": "bounds",
        "TreeBounds": "bounds",
        "Exploration": "explorer",
        "ExploreOptions": "explorer",
        "TreeExplorer": "explorer",
        "Grammar": "grammar",
        "llama_guard": "grammar",
        "wildguard": "grammar",
        "CanonicalTokenizations": "label_slots",
        "LabelSlots": "label_slots",
        "FLOOR_SLACK": "logits",
        "LOWEST_LOGIT": "logits",
        "LogitQuery": "logits",
        "LogitSummary": "logits",
        "filter_likely": "logits",
        "merge_listed": "logits",
        "rows_by_state": "logits",
        "summarize_logits": "logits",
        "NextTokenModel": "model",
        "label_estimate": "monte_carlo",
        "level_estimate": "monte_carlo",
        "position_estimate": "monte_carlo",
        "SessionHandles": "session",
        "to_host": "session",
        "DecisionStop": "stopping",
        "GapStop": "stopping",
        "StoppingRule": "stopping",
        "GREEDY": "tree",
        "greedy_failures": "unread",
        "unread_labels": "unread",
        "TokenTransitions": "vocabulary",
        "Vocabulary": "vocabulary",
    },
)
