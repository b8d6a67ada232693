"""The one way in which a set is declared: a recipe and a card become a spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.recipes import Home, Recipe, Source
from safebench.specs import DatasetCard, DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

# repositories and folders whose loaders were read, by a short name
GUARD_EVAL_HARNESS = (
    "Virtue-Research/guard-eval-harness:src/guard_eval_harness/datasets/"
)
# a table of sets with their sizes and licences
GUARDBENCH = "AmenRa/GuardBench:docs/datasets.md"
EVAL_ANYTHING = "PKU-Alignment/eval-anything:eval_anything/benchmarks/text_to_text/"
HUB = "https://huggingface.co/datasets/"
PYRIT = "microsoft/PyRIT:pyrit/datasets/seed_datasets/remote/"


def declare(
    name: str,
    summary: str,
    recipe: Recipe,
    card: DatasetCard,
    *,
    licence: str,
    task: str = "prompt_harm",
    policy: str | None = None,
    revision: str = "main",
    trained_on_by: str = "",
) -> DatasetSpec:
    """Return the spec of one task of a set.

    `trained_on_by` lists model families, separated by spaces. The splits are those of
    all homes; the first one of the first home is the default.
    """
    splits = dict.fromkeys(split for home in recipe.homes for split in home.splits)
    return DatasetSpec(
        name=name,
        load="safebench.datasets.declared:read_declared",
        summary=summary,
        task=task,
        policy=policy,
        splits=tuple(splits),
        hub_id=recipe.homes[0].hub_id,
        revision=revision,
        licence=licence,
        contaminates=frozenset(trained_on_by.split()),
        card=card,
        recipe=recipe,
    )


def plain(hub_id: str, *splits: str, config: str | None = None) -> Home:
    """Return a home whose splits are called as on the hub, in one config."""
    files = (f"**/{config}*", f"**/{config}/**/*") if config else ()
    return Home(
        hub_id=hub_id,
        splits={
            split: (Source(config=config, split=split, files=files),)
            for split in splits
        },
    )


def parts(hub_id: str, splits: Mapping[str, Source | tuple[Source, ...]]) -> Home:
    """Return a home whose splits lie in several configs or files."""
    return Home(
        hub_id=hub_id,
        splits={
            name: sources if isinstance(sources, tuple) else (sources,)
            for name, sources in splits.items()
        },
    )
