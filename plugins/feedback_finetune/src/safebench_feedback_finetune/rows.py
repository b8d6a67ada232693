"""Rows of the unified results table, one a metric and contender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safebench.results import Row
from safebench.run.manifest import versions
from safebench.run.table import commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from safebench.records import Dataset
    from safebench.statistics import Interval

    from .measures import Contender, MeasuredSet

HIGHER = {"fpr": False}
BLOCK_RATE = "block_rate"
FROM_VAL = "validation"


def rows_of(
    run: str,
    trained: Mapping[str, Any],
    contender: Contender,
    found: MeasuredSet,
    values: Mapping[str, Interval],
    dataset: Dataset | None,
) -> Iterator[Row]:
    """Yield a row for each metric; `dataset` is None for the collection's test part."""
    guard = trained["identity"]["guard"]
    n, positive = len(found.y), int(found.y.sum())
    name, config, split = _named(found, dataset)
    for metric, one in values.items():
        yield Row(
            run=run,
            classifier="llamaguard",
            model=_model(guard["model"], contender),
            revision=guard["revision"] or None,
            strategy=contender.name,
            params={"alpha": contender.alpha},
            dataset=name,
            config=config,
            split=split,
            task=found.task,
            policy=guard["policy"].partition("@")[0],
            metric=metric,
            value=one.value,
            ci_low=one.low,
            ci_high=one.high,
            ci_method=_method(one),
            higher_is_better=HIGHER.get(metric, True),
            n=n,
            n_pos=positive,
            n_neg=n - positive,
            n_scored=n,
            threshold=contender.threshold,
            threshold_from=contender.threshold_from,
            data_hash=dataset.data_hash if dataset else trained["parts_hash"],
            evidence_key=guard["weights"],
            versions=versions(),
            commit=commit(),
            contaminated=contaminated(guard["model"], dataset),
            note=found.note,
        )


def _named(
    found: MeasuredSet, dataset: Dataset | None
) -> tuple[str, str | None, str | None]:
    if dataset is None:
        return found.name, None, "held out"
    return dataset.name, dataset.config, dataset.split


def _model(label: str, contender: Contender) -> str:
    return (
        f"{label} + feedback LoRA at {contender.alpha:g}" if contender.alpha else label
    )


def _method(one: Interval) -> str | None:
    if one.value is None:
        return None
    if one.low is None:
        return f"none: {one.method}"
    return f"{one.method}, {one.n_groups} groups"


def contaminated(label: str, dataset: Dataset | None) -> bool | None:
    """Tell whether the base guard's name is that of one trained on the dataset."""
    if dataset is None:
        return None
    name = _letters(label)
    return any(_letters(family) in name for family in dataset.contaminates)


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())
