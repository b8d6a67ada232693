"""Which classes of a checkpoint mean harm, by their names or by what the user says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from safebench.errors import OptionError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

_HARMFUL = """
    unsafe harmful harm toxic toxicity hate hateful offensive abusive abuse insult
    threat obscene severe_toxic severe_toxicity identity_hate identity_attack
    identity_attack sexual_explicit violence nsfw malicious jailbreak injection
    flagged spam unethical profanity hate_speech hatespeech label_1 1 yes true
"""
_SAFE = """
    safe unharmful harmless benign non_toxic nontoxic not_toxic neutral ok normal
    clean legit legitimate non_hate nothate not_hate non_offensive not_offensive
    sfw ham acceptable ethical none label_0 0 no false
"""


def polarities(classes: Sequence[str], harmful: Sequence[str], label: str) -> list[int]:
    """Return 1 for classes that mean harm and -1 for safe ones, in order.

    `harmful` names the former; else well-known names and LABEL_0, LABEL_1 are
    understood. Raises `OptionError` for names that say nothing.
    """
    if harmful:
        return _named(classes, harmful, label)
    if len(classes) == 1:
        return [1] if _sign(classes[0]) >= 0 else [-1]
    found = [_sign(name) for name in classes]
    unknown = [name for name, sign in zip(classes, found, strict=True) if not sign]
    if unknown or set(found) == {-1}:
        listed = ", ".join(classes)
        raise OptionError(
            f"model {label!r} has the classes {listed}: which of them mean harm? Say "
            f"harmful=NAME (several: A+B), such as harmful={(unknown or classes)[0]}"
        )
    return found


def _named(classes: Sequence[str], harmful: Sequence[str], label: str) -> list[int]:
    known = {name.casefold(): name for name in classes}
    for name in harmful:
        if name.casefold() not in known:
            listed = ", ".join(classes)
            raise OptionError(
                f"model {label!r} has no class {name!r}{nearest(name, classes)}\n"
                f"  classes: {listed}"
            )
    wanted = {name.casefold() for name in harmful}
    return [1 if name.casefold() in wanted else -1 for name in classes]


def _sign(name: str) -> int:
    word = re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")
    return (word in _HARMFUL.split()) - (word in _SAFE.split())
