"""Failure modes of verdicts in stored trees: malformed, or cut off at the limit.

No strategy reads them. Tests and benchmarks do, to account for all probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.verdict_tree.bounds import Bounds
from safebench.verdict_tree.tree import ENDED, MALFORMED

if TYPE_CHECKING:
    from safebench.typing import Array
    from safebench.verdict_tree.bounds import TreeBounds


def truncated(bounds: TreeBounds) -> Array:
    """Return the probability that a verdict is cut off at the token limit, (B,)."""
    open_ = bounds.automaton.open[bounds.tree["state"]]
    return _by_sample(
        bounds, np.where(_out_of_budget(bounds) & open_, bounds.mass, 0.0)
    )


def malformed(bounds: TreeBounds) -> Bounds | None:
    """Return bounds of P(a level is read, and then text off the grammar), (B,).

    None in lenient parsing, which knows no such text. Where a verdict may end, the stop
    remainder sums such text and the EOS tokens without a node, each less likely than
    eps: so the probability is known in bounds only.
    """
    tree, automaton, expanded = bounds.tree, bounds.automaton, bounds.expanded_nodes
    if automaton.grammar.mode == "lenient":
        return None
    flagged = (tree["flags"] & MALFORMED) > 0
    state = tree["state"][expanded]
    stop = bounds.mass[expanded] * tree["stop"]
    too_early = automaton.stop_level[state] < 0
    uncertain = np.where(automaton.accepted[state], _unrecorded_eos(bounds), 0.0)
    certain = np.where(too_early, 0.0, np.clip(stop - uncertain, 0.0, None))
    well_formed = ((tree["status"] == ENDED) & ~flagged) | _out_of_budget(bounds)
    lower = _by_sample(bounds, np.where(flagged, bounds.mass, 0.0), certain)
    excluded = _by_sample(
        bounds, np.where(well_formed, bounds.mass, 0.0), np.where(too_early, stop, 0.0)
    )
    return Bounds(lower, np.maximum(1.0 - excluded, lower))


def _out_of_budget(bounds: TreeBounds) -> Array:
    at_limit = bounds.depth >= bounds.tree.meta["D"]
    cut_off: Array = at_limit & (bounds.tree["status"] != ENDED)
    return cut_off


def _unrecorded_eos(bounds: TreeBounds) -> Array:
    """Return an upper bound of the EOS probability in each stop remainder, (E,)."""
    tree = bounds.tree
    ends = np.nonzero(np.isin(tree["token"], tree.meta["eos"]))[0]
    parent = tree.offsets["N"][bounds.sample[ends]] + tree["parent"][ends]
    recorded = np.bincount(parent, minlength=len(tree["parent"]))[bounds.expanded_nodes]
    limit: Array = (len(tree.meta["eos"]) - recorded) * tree.meta["stop"]["eps"]
    return limit


def _by_sample(
    bounds: TreeBounds, nodes: Array, expanded: Array | None = None
) -> Array:
    """Sum values of nodes (N,), and of expanded nodes (E,), by sample."""
    total: Array = np.bincount(bounds.sample, weights=nodes, minlength=len(bounds.tree))
    if expanded is not None:
        sample = bounds.sample[bounds.expanded_nodes]
        total += np.bincount(sample, weights=expanded, minlength=len(bounds.tree))
    return total
