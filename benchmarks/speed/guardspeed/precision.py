"""Compare the decisions of float32 and bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.evidence import EvidenceBundle, VerdictTree
from safebench.metrics import metric_value
from safebench.strategies import Context, Judgements
from safebench.verdict_tree import TreeBounds

from . import tree_recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .setting import Setting

_THRESHOLD = 0.5


def agreement(first: Setting, second: Setting) -> dict[str, Any]:
    """Compare P(unsafe), P(category) and the greedy verdict on the same prompts.

    A decision is a score or a category's probability at 0.5 or more.
    """
    assert first.prompts == second.prompts, "other prompts"
    judgements = [judge(setting) for setting in (first, second)]
    (a, a_verdicts), (b, b_verdicts) = judgements
    scores = difference(a.score, b.score)
    labels = difference(a.categories, b.categories)
    verdicts = [x != y for x, y in zip(a_verdicts, b_verdicts, strict=True)]
    return {
        "prompts": len(first.prompts),
        "dtypes": [_dtype(first), _dtype(second)],
        "device": first.device.type,
        "model": first.name,
        "prompt_tokens_shared": len(first.prefix),
        "score": scores,
        "categories": labels,
        "greedy_verdicts_that_differ": float(np.mean(verdicts)),
        "calibration": calibration(first.truth, a.score, b.score),
    }


def calibration(truth: Sequence[bool], a: Any, b: Any) -> dict[str, float] | None:
    """Return the calibration error of both scores; None where no truth is known.

    Bins of equal width (15), prompts that have both scores.
    """
    both = np.isfinite(a) & np.isfinite(b)
    if not truth or not both.any():
        return None
    y = np.array(truth)[both]
    first, second = (metric_value("ece", y, p[both]) or 0.0 for p in (a, b))
    return {"ece": first, "ece_other": second, "difference": second - first}


def difference(a: Any, b: Any) -> dict[str, float]:
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


def judge(setting: Setting) -> tuple[Judgements, list[tuple[int, ...]]]:
    """Return `marginal_any`'s judgements and the greedy verdicts of all prompts."""
    engine = tree_recording.explorer(setting, tree_recording.DEFAULT)
    tree, _ = tree_recording.record(engine, setting)
    (spec,) = tree_recording.strategies(["marginal_any"])
    context = Context(task="prompt_harm", policy=setting.policy)
    judgements: Judgements = spec.code()(EvidenceBundle({VerdictTree: tree}), context)
    return judgements, _greedy_verdicts(tree)


def _greedy_verdicts(tree: VerdictTree) -> list[tuple[int, ...]]:
    """Return level, labels and end of every greedy verdict."""
    last = TreeBounds(tree).greedy_end
    columns = (tree["level"], tree["labels_mask"], tree["status"])
    return [tuple(int(c[at]) for c in columns) for at in last]


def _dtype(setting: Setting) -> str:
    return str(setting.network.dtype).removeprefix("torch.")
