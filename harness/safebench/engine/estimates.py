"""Points estimated from Monte Carlo draws: unbiased, and within the bounds on average.

P(event) = L + gap x P(event | an open element that is not yet certain of it). All
draws of a sample count for every event: keeping those alone that could still bring it
about would be biased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.errors import OptionError

from .automaton import label_bits
from .elements import CLOSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cut import Cut
    from .places import Places

    Array = np.ndarray[Any, np.dtype[Any]]


def level_drawn(cut: Cut, wanted: Sequence[bool]) -> Array:
    """Estimate the probability that one of the `wanted` levels is read, (B,)."""
    said = np.append(np.array(wanted, dtype=bool), False)  # level -1 reads the last
    before = cut.tree["level"][_node(cut)]
    news = said[cut.tree["mc_level"]] & ~said[before]
    return _estimate(cut, cut.level_bounds(wanted).lower[:, None], news[:, None])[:, 0]


def label_drawn(cut: Cut) -> Array:
    """Estimate the probability of each label, (B, labels)."""
    tree, node = cut.tree, _node(cut)
    closing = label_bits(cut.table.stop_label[tree["state"][node]])
    before = tree["labels_mask"][node]
    before = np.where(tree["mc_kind"] == CLOSING, before | closing, before)
    place = np.arange(len(cut.table.grammar.labels), dtype=np.uint64)
    news = (tree["mc_labels"] & ~before)[:, None] >> place & np.uint64(1) > 0
    return _estimate(cut, cut.label_bounds.lower, news)


def place_drawn(places: Places) -> Array:
    """Estimate the probability of each label to be the first, (B, labels).

    Of label number k a draw records k = 1 alone.
    """
    assert places.k == 1, f"draws know their first label, not number {places.k}"
    cut, count = places.cut, len(places.cut.table.grammar.labels)
    unsure = places.certain(_node(cut), cut.tree["mc_kind"]) < 0
    news = unsure[:, None] & (cut.tree["mc_first"][:, None] == np.arange(count))
    return _estimate(cut, places.bounds.lower, news)


def _node(cut: Cut) -> Array:
    """Return the node of each draw, among those of all samples."""
    if "mc_node" not in cut.tree:
        raise OptionError(
            "point=mc needs draws from the model\n"
            "  record them with mc_samples=100, or choose point=mid"
        )
    counts = np.diff(cut.tree.offsets["R"])
    begin = np.repeat(cut.tree.offsets["N"][:-1], counts)
    where: Array = begin + cut.tree["mc_node"]
    return where


def _estimate(cut: Cut, lower: Array, news: Array) -> Array:
    """Return lower (B, Q) + gap x the mean of news (R, Q); NaN without draws."""
    counts = np.diff(cut.tree.offsets["R"])
    row = np.repeat(np.arange(len(counts)), counts)
    total = np.zeros(lower.shape)
    np.add.at(total, row, news)
    none = np.where(cut.gap > 0, np.nan, 0.0)[:, None] + np.zeros(lower.shape)
    mean = np.divide(total, counts[:, None], out=none, where=counts[:, None] > 0)
    point: Array = lower + cut.gap[:, None] * mean
    return point
