"""Datasets as a run takes them: limited, and with a calibration part set aside."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from safebench.datasets.loader import load_dataset
from safebench.datasets.resolve import resolve_dataset
from safebench.datasets.splits import calibration_ids, describe_lost_classes, subsample
from safebench.errors import OptionError

from .config import DEFAULT_DATASET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.plugins import Plugins
    from safebench.records import Dataset

    from .config import RunConfig


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A dataset as it will run: all that is judged, and what metrics leave out.

    `calibration_ids` are the samples that are held out from metrics, to fit thresholds
    and calibration on. `unlimited` is the dataset before a limit, None if there is
    none. `notes` are for the user: what was decided about the data, or left out.
    """

    dataset: Dataset
    calibration_ids: frozenset[str] = frozenset()
    is_default_split: bool = False
    unlimited: Dataset | None = None
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> Dataset:
        """All rows of the dataset: what a run folder is about, whatever the limit."""
        return self.unlimited or self.dataset

    @property
    def short_label(self) -> str:
        """The dataset's label, without the split that is meant when none is said."""
        label = self.dataset.label
        return label.rpartition(":")[0] if self.is_default_split else label

    @property
    def n_calibration(self) -> int:
        """How many of the samples belong to the calibration part."""
        return sum(s.id in self.calibration_ids for s in self.dataset.samples)


def load_evaluation_sets(config: RunConfig, plugins: Plugins) -> list[EvaluationSet]:
    """Read every dataset of a run; raises before any model is loaded."""
    return _disambiguate(
        [
            _load_evaluation_set(text, config, plugins)
            for text in config.datasets or (DEFAULT_DATASET,)
        ]
    )


def _load_evaluation_set(
    text: str, config: RunConfig, plugins: Plugins
) -> EvaluationSet:
    request = resolve_dataset(
        text,
        plugins,
        data_root=config.data_root,
        on_bad_row=config.on_bad_row,
        label_map=config.label_map,
    )
    notes: list[str] = []
    whole = load_dataset(request, say=notes.append)
    if n_unknown := whole.counts.get("unknown_labels"):
        notes.append(
            f"{whole.label}: {n_unknown} of {len(whole)} rows have no known label: "
            "metrics leave them out"
        )
    # before the limit is applied: a sample stays in its part whatever the limit
    held_out = calibration_ids(whole, config.calibration_fraction)
    dataset = subsample(whole, config.limit, config.seed) if config.limit else whole
    if lost := describe_lost_classes(whole, dataset, held_out, config.seed):
        notes.append(f"{dataset.label}: {lost}")
    default_split = next(iter(request.spec.splits), request.split)
    return EvaluationSet(
        dataset, held_out, request.split == default_split, whole, tuple(notes)
    )


def _disambiguate(sets: Sequence[EvaluationSet]) -> list[EvaluationSet]:
    """Give sets of one label (one file, several tasks) the task as their config."""
    times = Counter(s.dataset.label for s in sets)
    distinct = [
        replace(s, dataset=replace(s.dataset, config=s.dataset.task))
        if times[s.dataset.label] > 1
        else s
        for s in sets
    ]
    for label, n in Counter(s.dataset.label for s in distinct).items():
        if n > 1:
            raise OptionError(f"{n} datasets would be called {label}: rename one file")
    return distinct
