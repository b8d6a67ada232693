"""Choose a temperature at which trees have a given mean number of nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import tree_recording
from .setting import Setting, scale_logits

_STEPS = 9
_SAMPLE = 48  # prompts that are looked at


def shape_nodes(setting: Setting, low: float, high: float) -> float:
    """Heat the logits until trees at eps 0.01 have `low` to `high` nodes on average.

    Returns the mean over the prompts looked at; the nearest that was found, if none of
    the tries was inside.
    """
    step = max(1, len(setting.prompts) // _SAMPLE)
    sample = replace(setting, prompts=setting.prompts[::step])
    cold, hot = 0.3, 6.0
    attempts: list[tuple[float, float, float]] = []
    for _ in range(_STEPS):
        temperature = float(np.sqrt(cold * hot))
        nodes = _nodes(sample, temperature)
        attempts.append((abs(nodes - (low + high) / 2), temperature, nodes))
        if low <= nodes <= high and attempts[-1][0] <= 0.3 * (high - low):
            break
        # Beyond a point heat makes trees smaller again: verdicts leave the grammar.
        cold, hot = (temperature, hot) if nodes < low else (cold, temperature)
    _, temperature, nodes = min(attempts)
    scale_logits(setting, temperature)
    return nodes


def _nodes(sample: Setting, temperature: float) -> float:
    scale_logits(sample, temperature)
    _, nodes = tree_recording.record(
        tree_recording.explorer(sample, tree_recording.LEAN), sample
    )
    return float(np.mean(nodes))
