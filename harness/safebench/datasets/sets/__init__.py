"""Public sets that are read by a recipe, a module for each kind of set.

A module holds nothing but declarations: where a set lies, what its columns mean, what
makes a row positive, and what is known of the set. Adding one is a call of `declare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import harmful_prompts, hate_speech, injections, mixed_prompts

if TYPE_CHECKING:
    from safebench.specs import DatasetSpec

DECLARED_SETS: list[DatasetSpec] = [
    *harmful_prompts.SETS,
    *mixed_prompts.SETS,
    *injections.SETS,
    *hate_speech.SETS,
]
