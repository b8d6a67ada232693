"""Six encoders of DistilBERT's shape, as the ensemble trains them."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from bert_ensemble_speed import train_members

if TYPE_CHECKING:
    from .setup import Setup

ROWS = 1400  # a fifth of the published recipe's: seconds grow with them
TINY = {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}


def measure(setup: Setup) -> dict[str, Any]:
    """Return seconds in all and of each member, on random weights."""
    found = train_members(
        setup.pick(6, 2), setup.pick(ROWS, 20), **setup.pick({}, TINY)
    )
    found["median_seconds_a_member"] = median(m["seconds"] for m in found["members"])
    return found
