"""Checks for ``safebench doctor``: the key, one answer, and what was compared."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from safebench.errors import ModelError

from .adapter import AnyGuardrailClassifier
from .catalog import CHECKS, SCALES
from .guard_options import guard_reading, library_version
from .openai_moderation import CATEGORIES, KEY, OpenAIModeration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .guard_options import BaseGuardOptions
    from .options import ModerationOptions

    Check = tuple[str, str, str]


def moderation_doctor(options: ModerationOptions) -> Iterator[Check]:
    """Yield (name, ok | warn | fail, detail) about OpenAI's moderation; one request."""
    yield _check_keys([KEY])
    start = time.perf_counter()
    try:
        classifier = OpenAIModeration(options)
    except ModelError as error:
        yield "answer", "fail", error.message
        return
    seconds = time.perf_counter() - start
    classifier.close()
    yield "answer", "ok", f"from {classifier.model} in {seconds:.2f} s"
    n_scored = len(CATEGORIES) - len(classifier.absent)
    yield "categories", "ok", f"{n_scored} of {len(CATEGORIES)} are scored"


def guard_doctor(options: BaseGuardOptions) -> Iterator[Check]:
    """Yield (name, ok | warn | fail, detail) about a guard; one answer is asked for."""
    yield "library", "ok", f"any-guardrail {library_version()}"
    guard = guard_reading(options)
    untested = guard.checked == "untested"
    detail = f"{SCALES[guard.scale]}, compared with {CHECKS[guard.checked]}"
    yield "reading", "warn" if untested else "ok", detail
    yield "tasks", "ok", ", ".join(guard.tasks)
    if guard.keys:
        yield _check_keys(guard.keys)
    start = time.perf_counter()
    try:
        classifier = AnyGuardrailClassifier(options)
    except ModelError as error:
        yield "answer", "fail", error.message
        return
    seconds = time.perf_counter() - start
    model = classifier.served_model or "a model that the answer does not name"
    yield "answer", "ok", f"from {model} in {seconds:.2f} s"
    yield "columns", "ok", ", ".join(classifier.labels)


def _check_keys(names: Sequence[str]) -> Check:
    """Tell which variables are set, and never to what."""
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        # some are alternatives: the answer tells
        return "keys", "warn", f"not set: {', '.join(missing)}"
    return "keys", "ok", f"{', '.join(names)} set"
