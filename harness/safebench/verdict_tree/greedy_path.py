"""The greedy verdict of stored trees, as a service with top-k logits would give it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safebench.evidence import GreedyPath

from .label_slots import LabelSlots

if TYPE_CHECKING:
    from safebench.evidence import VerdictTree
    from safebench.typing import Array

    from .grammar import Grammar


def greedy_path(tree: VerdictTree) -> GreedyPath:
    """Return the greedy paths of a batch of trees; they are computed once."""
    return tree.cached(_extract)


def _extract(tree: VerdictTree) -> GreedyPath:
    slots = tree.cached(LabelSlots)
    on_path = slots.tokenizations.on_greedy_path
    token = np.nonzero(on_path & (tree["parent"] >= 0))[0]
    followed = on_path[slots.bounds.expanded_nodes]  # each was followed by a token
    assert len(token) == followed.sum() == len(tree["top_ids"]), f"{len(token)} tokens"
    alternatives = _of_logits(slots, followed) if tree.of_logits else _of_listed(tree)
    return GreedyPath(
        {
            "token": tree["token"][token],
            "logp": tree["logp"][token],
            "top_ids": tree["top_ids"],
            **alternatives,
        },
        offsets={"T": tree.offsets["G"]},
        meta={"labels": list(slots.automaton.grammar.label_codes), "K": tree.meta["K"]},
        size=len(tree),
    )


def _of_logits(slots: LabelSlots, followed: Array) -> dict[str, Array]:
    tree = slots.tree
    log_norm = tree["log_norm"][followed].astype(np.float64)
    return {
        "top_logp": tree["top_logits"] - log_norm[:, None],
        "entropy": tree["entropy"][followed],
        "log_norm": log_norm,
        "logits": tree["top_logits"],
        "label_logits": _label_logits(slots),
    }


def _of_listed(tree: VerdictTree) -> dict[str, Array]:
    return {"top_logp": tree["top_logp"]}


def _label_logits(slots: LabelSlots) -> Array:
    """Return the logits of the labels' first tokens at the first slot, (B, labels).

    NaN for samples without a first slot, for labels that share their first token, and
    for labels that the token limit left out.
    """
    tree, bounds = slots.tree, slots.bounds
    node, slot, label, _ = slots.label_ends
    branch = _branch_nodes(slots, node)
    log_norm = np.full(len(tree["parent"]), np.nan)
    log_norm[bounds.expanded_nodes] = tree["log_norm"]
    logits = tree["logp"][branch] + log_norm[slots.nodes[slot]]
    # Labels that share a branch differ only further down: none of their first tokens
    # tells them apart.
    _, group, group_sizes = np.unique(branch, return_inverse=True, return_counts=True)
    unshared = group_sizes[group] == 1
    shape = (len(slots.nodes), len(slots.automaton.grammar.labels))
    by_slot = np.full(shape, np.nan)
    by_slot[slot[unshared], label[unshared]] = logits[unshared]
    first = slots.first_slot(_positive_levels(slots.automaton.grammar))
    label_logits = np.full((len(tree), shape[1]), np.nan)
    label_logits[first >= 0] = by_slot[first[first >= 0]]
    return label_logits


def _branch_nodes(slots: LabelSlots, nodes: Array) -> Array:
    """Return the ancestor of each node that is a child of a slot."""
    parent = slots.tokenizations.parent_node
    is_slot = np.zeros(len(parent), dtype=bool)
    is_slot[slots.nodes] = True
    while not (below_slot := is_slot[parent[nodes]]).all():
        nodes = np.where(below_slot, nodes, parent[nodes])
    return nodes


def _positive_levels(grammar: Grammar) -> list[bool]:
    """Return whether each level is positive for some task."""
    return [
        any(level.positive.values())
        if not isinstance(level.positive, bool)
        else level.positive
        for level in grammar.levels
    ]
