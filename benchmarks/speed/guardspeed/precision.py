"""Whether float32 and bfloat16 lead to the same decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.engine.cut import Cut
from safebench.evidence import VerdictTree
from safebench.evidence.bundle import Bundle
from safebench.judgements import Context, Judgements
from safebench.statistics import metric_value

from . import engine_way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .setting import Setting

_THRESHOLD = 0.5


def agreement(one: Setting, other: Setting) -> dict[str, Any]:
    """Compare P(unsafe), P(category) and the greedy verdict on the same prompts.

    A decision is a score or a category's probability at 0.5 or more.
    """
    assert one.prompts == other.prompts, "other prompts"
    judged = [_judged(setting) for setting in (one, other)]
    (a, a_said), (b, b_said) = judged
    scores = _difference(a.score, b.score)
    labels = _difference(a.categories, b.categories)
    verdicts = [x != y for x, y in zip(a_said, b_said, strict=True)]
    return {
        "prompts": len(one.prompts),
        "dtypes": [_dtype(one), _dtype(other)],
        "device": one.device.type,
        "model": one.name,
        "prompt_tokens_shared": len(one.prefix),
        "score": scores,
        "categories": labels,
        "greedy_verdicts_that_differ": float(np.mean(verdicts)),
        "calibration": calibration(one.truth, a.score, b.score),
    }


def calibration(truth: Sequence[bool], a: Any, b: Any) -> dict[str, float] | None:
    """Return the calibration error of both scores; None where no truth is known.

    Bins of equal width (15), prompts that have both scores.
    """
    both = np.isfinite(a) & np.isfinite(b)
    if not truth or not both.any():
        return None
    y = np.array(truth)[both]
    one, other = (metric_value("ece", y, p[both]) or 0.0 for p in (a, b))
    return {"ece": one, "ece_other": other, "difference": other - one}


def _difference(a: Any, b: Any) -> dict[str, float]:
    """Return how far two arrays of probabilities are apart, and their decisions."""
    both = np.isfinite(a) & np.isfinite(b)
    delta = np.abs(a - b)[both]
    flips = ((a >= _THRESHOLD) != (b >= _THRESHOLD))[both]
    return {
        "values": int(both.sum()),
        "decisions_that_differ": int(flips.sum()),
        "share_of_decisions_that_differ": float(flips.mean()),
        "max_difference": float(delta.max()),
        "mean_difference": float(delta.mean()),
        "without_a_value_in_one_only": int((np.isfinite(a) != np.isfinite(b)).sum()),
    }


def _judged(setting: Setting) -> tuple[Judgements, list[tuple[int, ...]]]:
    engine = engine_way.explorer(setting, engine_way.DEFAULT)
    tree, _ = engine_way.record(engine, setting)
    (spec,) = engine_way.strategies(["marginal_any"])
    context = Context(task="prompt_harm", policy=setting.policy)
    found: Judgements = spec.code()(Bundle({VerdictTree: tree}), context)
    return found, _said(tree)


def _said(tree: VerdictTree) -> list[tuple[int, ...]]:
    """Return level, labels and end of every greedy verdict."""
    last = Cut(tree).greedy
    columns = (tree["level"], tree["labels_mask"], tree["status"])
    return [tuple(int(c[at]) for c in columns) for at in last]


def _dtype(setting: Setting) -> str:
    return str(setting.network.dtype).removeprefix("torch.")
