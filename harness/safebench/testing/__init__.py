"""Tools for testing safebench itself and plugins."""

from __future__ import annotations

from .conformance import (
    assert_classifier_is_sound,
    assert_plugin_is_sound,
    assert_strategy_is_sound,
)

__all__ = [
    "assert_classifier_is_sound",
    "assert_plugin_is_sound",
    "assert_strategy_is_sound",
]
