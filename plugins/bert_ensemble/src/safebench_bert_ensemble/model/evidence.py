"""`MemberLogits` evidence: logits, what each class says about harm, and traces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.classifiers import Trace
from safebench.errors import OptionError, did_you_mean
from safebench.evidence import MemberLogits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.typing import Floats

    from .encoding import Windows

# Of every model that this plugin trains.
CLASSES = ("safe", "harmful")
CLASS_POLARITY = (-1, 1)
OUT_OF_MEMORY = "out of memory, even alone in its batch"
# Class names of published checkpoints, with other characters than a-z, 0-9 as "_".
_HARMFUL_NAMES = """
    unsafe harmful harm toxic toxicity hate hateful offensive abusive abuse insult
    threat obscene severe_toxic severe_toxicity identity_hate identity_attack
    sexual_explicit violence nsfw malicious jailbreak injection
    flagged spam unethical profanity hate_speech hatespeech label_1 1 yes true
"""
_SAFE_NAMES = """
    safe unharmful harmless benign non_toxic nontoxic not_toxic neutral ok normal
    clean legit legitimate non_hate nothate not_hate non_offensive not_offensive
    sfw ham acceptable ethical none label_0 0 no false
"""


def build_evidence(
    logits: Any,
    offsets: Any,
    *,
    classes: Sequence[str],
    polarity: Sequence[int],
    task: str,
    members: Sequence[str],
    link: str = "softmax",
) -> MemberLogits:
    """Return evidence from logits (W, M, C) of the windows of B texts.

    `offsets` (B + 1,) say which windows belong to which text; `polarity` (C,) is that
    of `class_polarities`, about `task`.
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
        },
    )


def two_class_evidence(
    log_odds: Floats, offsets: Any, *, task: str, member: str
) -> MemberLogits:
    """Return evidence of one member from its log-odds of harm (W,); safe gets 0."""
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


def class_polarities(
    classes: Sequence[str], harmful: Sequence[str], label: str
) -> list[int]:
    """Return 1 for classes that mean harm and -1 for safe ones, in order.

    `harmful` names the former; without, well-known names and LABEL_0, LABEL_1 are
    understood. Raises `OptionError` for names that say nothing.
    """
    if harmful:
        return _polarities_by_name(classes, harmful, label)
    if len(classes) == 1:
        return [1] if _name_polarity(classes[0]) >= 0 else [-1]
    polarities = [_name_polarity(name) for name in classes]
    unknown = [name for name, sign in zip(classes, polarities, strict=True) if not sign]
    if unknown or set(polarities) == {-1}:
        listed = ", ".join(classes)
        raise OptionError(
            f"model {label!r} has the classes {listed}: which of them mean harm? Say "
            f"harmful=NAME (several: A+B), such as harmful={(unknown or classes)[0]}"
        )
    return polarities


def _polarities_by_name(
    classes: Sequence[str], harmful: Sequence[str], label: str
) -> list[int]:
    known = {name.casefold() for name in classes}
    for name in harmful:
        if name.casefold() not in known:
            listed = ", ".join(classes)
            raise OptionError(
                f"model {label!r} has no class {name!r}{did_you_mean(name, classes)}\n"
                f"  classes: {listed}"
            )
    chosen = {name.casefold() for name in harmful}
    return [1 if name.casefold() in chosen else -1 for name in classes]


def _name_polarity(name: str) -> int:
    """Return 1 for harm, -1 for safe, 0 for a name that says neither."""
    word = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")
    return (word in _HARMFUL_NAMES.split()) - (word in _SAFE_NAMES.split())
