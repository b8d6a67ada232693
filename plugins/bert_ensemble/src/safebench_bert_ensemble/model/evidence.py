"""`MemberLogits` evidence: logits, what each class says about harm, and traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Trace
from safebench.evidence import MemberLogits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safebench.typing import Floats

    from .encoding import Windows

# Of every model that this plugin trains.
CLASSES = ("safe", "harmful")
CLASS_POLARITY = (-1, 1)
OUT_OF_MEMORY = "out of memory, even alone in its batch"


def build_evidence(
    logits: Any,
    offsets: Any,
    *,
    classes: Sequence[str],
    polarity: Sequence[int],
    task: str,
    members: Sequence[str],
    link: str = "softmax",
    meta: Mapping[str, Any] | None = None,
) -> MemberLogits:
    """Return evidence from logits (W, M, C) of the windows of B texts.

    `offsets` (B + 1,) say which windows belong to which text; `polarity` (C,) is that
    of `class_polarities`, about `task`; `meta` what else strategies read.
    """
    meaning = zip(classes, polarity, strict=True)
    return MemberLogits(
        {"logits": np.asarray(logits, np.float32)},
        offsets={"W": offsets},
        meta={
            "link": link,
            "classes": list(classes),
            "tasks": {name: [task, sign] for name, sign in meaning if sign},
            "members": list(members),
            **(meta or {}),
        },
    )


def two_class_evidence(
    log_odds: Floats, offsets: Any, *, task: str, member: str
) -> MemberLogits:
    """Return evidence of one member from its log-odds of harm (W,); safe gets 0."""
    # The softmax of 0 and the log-odds is the probability that they stand for.
    logits = np.stack([np.zeros_like(log_odds), log_odds], axis=-1)[:, None, :]
    return build_evidence(
        logits,
        offsets,
        classes=CLASSES,
        polarity=CLASS_POLARITY,
        task=task,
        members=[member],
    )


def window_traces(
    windows: Windows, out_of_memory: set[int], seconds: float, passes: int
) -> list[Trace]:
    """Return what each of B texts took.

    Windows share batches, so `seconds` are divided in proportion to tokens. `passes`
    is how many networks read each window.
    """
    n_texts = len(windows.dropped)
    text_of_window = np.asarray(windows.text_indices, dtype=np.int64)
    lengths = np.asarray(windows.lengths)
    tokens = np.bincount(text_of_window, lengths, minlength=n_texts).astype(int)
    counts = np.diff(windows.offsets)
    failed = {int(text_of_window[window]) for window in out_of_memory}
    # At least 1: texts may all be empty.
    total = max(int(tokens.sum()), 1)
    return [
        Trace(
            tokens_in=int(tokens[i]),
            tokens_dropped=int(windows.dropped[i]),
            dropped_side="right" if windows.dropped[i] else "",
            windows=int(counts[i]),
            forward_passes=float(counts[i] * passes),
            seconds=seconds * float(tokens[i]) / total,
            error=OUT_OF_MEMORY if i in failed else None,
        )
        for i in range(n_texts)
    ]
