"""Which samples belong together: same group, same prompt or same pair, by any chain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from safebench.datasets.assemble import prompt_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safebench.records import Gold, Sample

    Row = tuple[Sample, Gold]
    Told = tuple[str, Row]  # the source's name, and what was read there

PREFIX = 16  # hex digits, as in groups that datasets leave to the core


def regrouped(told: Sequence[Told]) -> list[Row]:
    """Return the rows with groups that hold across sources.

    A group is named after the smallest prompt hash in it, so that it depends neither
    on the order of rows nor on a source's numbering.
    """
    roots = _Roots()
    names: dict[str, str] = {}
    prompts = [prompt_hash(sample.turns)[:PREFIX] for _, (sample, _) in told]
    for (source, row), prompt in zip(told, prompts, strict=True):
        roots.join(_keys(source, row, prompt))
    for prompt in prompts:
        root = roots.find(f"prompt {prompt}")
        names[root] = min(names.get(root, prompt), prompt)
    return [
        (replace(sample, group=names[roots.find(f"prompt {prompt}")]), gold)
        for (_, (sample, gold)), prompt in zip(told, prompts, strict=True)
    ]


def _keys(source: str, row: Row, prompt: str) -> list[str]:
    sample, gold = row
    keys = [f"prompt {prompt}"]
    if sample.group and sample.group != prompt:
        keys.append(f"group {source} {sample.group}")
    if gold.pair:
        keys.append(f"pair {source} {gold.pair[0]}")
    return keys


class _Roots:
    """Disjoint sets of keys (union by halving paths)."""

    def __init__(self) -> None:
        self.above: dict[str, str] = {}

    def find(self, key: str) -> str:
        """Return the key that stands for all that were joined with this one."""
        self.above.setdefault(key, key)
        while self.above[key] != key:
            self.above[key] = key = self.above[self.above[key]]
        return key

    def join(self, keys: Iterable[str]) -> None:
        """Say that all these keys mean the same."""
        first, *others = (self.find(key) for key in keys)
        for other in others:
            self.above[self.find(other)] = self.find(first)
