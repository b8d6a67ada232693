"""Checks of the contracts that plugins must keep, for the tests of plugins.

`table_model` has an exact language model and `result_rows` rows of a results table, for
the tests of this repository.
"""

from __future__ import annotations

from .conformance import (
    assert_classifier_is_sound,
    assert_plugin_is_sound,
    assert_strategy_is_sound,
)
from .executor_conformance import assert_executor_is_sound

__all__ = [
    "assert_classifier_is_sound",
    "assert_executor_is_sound",
    "assert_plugin_is_sound",
    "assert_strategy_is_sound",
]
