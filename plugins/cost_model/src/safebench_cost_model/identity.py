"""What tells two recorded cost models apart, found without loading either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .found import find_cost_model, read_baseline

if TYPE_CHECKING:
    from .options import BaselineOptions, CostOptions

_RECORD = ("dtype", "template", "max_length", "batch_tokens")


def identity(options: CostOptions) -> dict[str, Any]:
    """Return JSON of the weights' hash, template, constants and record options."""
    found = find_cost_model(options)
    return {
        "model": found.label,
        "revision": found.commit,
        "weights": found.weights,
        "template": found.template.sha256,
        "calibration": found.calibration,
        "record": {name: getattr(options, name) for name in _RECORD},
    }


def baseline_identity(options: BaselineOptions) -> dict[str, Any]:
    """Return JSON of the hash of a baseline's words, weights and constants."""
    return read_baseline(options).identity
