"""Which classifier `llamaguard` is: one that records trees, or one of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safebench.classifiers import Classifier

    from .options import GuardOptions


def open_guard(options: GuardOptions) -> Classifier:
    """Return the guard that the options name, loaded.

    Each is imported where it is needed: texts need no tensor library.
    """
    if not options.reads_texts:
        from .classifier import LlamaGuard

        return LlamaGuard(options)
    from .texts.guard import TextGuard

    return TextGuard(options)
