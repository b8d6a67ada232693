"""Columns and texts of a run's samples, read again from its datasets.

Predictions store no prompt, so that a run folder can be shared without its texts.
Slices and examples need them: the datasets named by the run's configuration are read
once more, and matched by id and content.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from safebench.datasets.public import RATINGS
from safebench.datasets.sample_columns import sample_columns
from safebench.datasets.spooled_records import SpooledSamples
from safebench.errors import SafebenchError
from safebench.results.predictions import SampleMetadata
from safebench.results.run_files import CONFIG_FILE, check_unchanged
from safebench.results.stored_texts import read_texts, text_files

from .large_metadata import match_in_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.records import Dataset, Sample
    from safebench.results.predictions import StoredPredictions

    SampleKey = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class DatasetMetadata:
    """Content and metadata by dataset, split, task and id, and what was not read.

    `folder` may have stored texts of samples whose dataset was not read. `large` are
    datasets whose samples are read when they are looked at.
    """

    by_sample: dict[SampleKey, tuple[str, SampleMetadata]]
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    large: tuple[Dataset, ...] = ()


def read_sample_metadata(
    folder: Path, plugins: Plugins, data_root: str | None = None
) -> DatasetMetadata:
    """Read the datasets that a run's stored configuration names.

    One that cannot be read (moved file, no network) becomes a note, not an error.
    """
    by_sample: dict[SampleKey, tuple[str, SampleMetadata]] = {}
    notes: list[str] = []
    large: list[Dataset] = []
    for part in read_run_datasets(folder, plugins, data_root):
        if isinstance(part, str):
            notes.append(part)
            continue
        notes += rater_agreement_notes(part)
        if isinstance(part.samples, SpooledSamples):
            large.append(part)
        else:
            by_sample |= _metadata_of(part)
    return DatasetMetadata(by_sample, tuple(notes), folder, tuple(large))


def read_run_datasets(
    folder: Path, plugins: Plugins, data_root: str | None = None
) -> Iterator[Dataset | str]:
    """Yield the datasets of a run as they are now, whole, and a note for each gap.

    `data_root` takes the place of the one that the run was given.
    """
    # imported late: they load the readers of every dataset
    from safebench.pipeline.config import load_run_config
    from safebench.pipeline.evaluation_set import load_evaluation_sets

    path = folder / CONFIG_FILE
    if not path.is_file():
        yield f"no {CONFIG_FILE} in {folder}: its datasets are not known"
        return
    try:
        check_unchanged(path)
        # whole datasets: ids find the samples of a limited run as well
        config = replace(load_run_config(path, {"data_root": data_root}), limit=None)
    except SafebenchError as error:
        yield f"the run's {CONFIG_FILE} cannot be read: {error.message}"
        return
    for name in config.datasets:  # one by one: a set that fails leaves the others
        try:
            parts = load_evaluation_sets(
                # what the run could not read is no news
                replace(config, datasets=(name,), skip_missing=True),
                plugins,
                lambda _: folder,
            )
        except SafebenchError as error:
            reason = error.message.partition("\n")[0]
            yield f"{name} could not be read again: {reason}"
            continue
        yield from (part.dataset for part in parts)


def _metadata_of(dataset: Dataset) -> dict[SampleKey, tuple[str, SampleMetadata]]:
    return {
        (dataset.name, dataset.split, dataset.task, sample.id): (
            sample.content,
            _sample_metadata(sample, sample_columns(sample, truth)),
        )
        for sample, truth in zip(dataset.samples, dataset.ground_truth, strict=True)
    }


def rater_agreement_notes(dataset: Dataset) -> list[str]:
    """Say how far the raters of a dataset agree, of all samples that it has.

    A sample's ratings are in its truth's `meta`: how many raters gave each answer.
    """
    from .agreement import krippendorff_alpha

    if not dataset.columns.described:
        return []
    ratings = [truth.meta.get(RATINGS) for truth in dataset.ground_truth]
    counts = [votes for votes in ratings if votes]
    answers = list(dict.fromkeys(answer for votes in counts for answer in votes))
    if not counts:
        return []
    table = np.array([[votes.get(answer, 0) for answer in answers] for votes in counts])
    alpha = krippendorff_alpha(table)
    if alpha is None:
        return []
    of_what = f"{len(counts):,} samples, {', '.join(answers)}; 1 agreement, 0 chance"
    return [f"{dataset.label}: Krippendorff's alpha of raters {alpha:.3f} ({of_what})"]


def _sample_metadata(sample: Sample, columns: dict[str, Any]) -> SampleMetadata:
    return SampleMetadata(
        group=sample.group,
        meta=columns,
        text=conversation_text(sample),
        length=sum(len(turn.text) for turn in sample.turns),
    )


def conversation_text(sample: Sample) -> str:
    """Return a single turn as it is, several turns with their roles."""
    if len(sample.turns) == 1:
        return sample.turns[0].text
    return "\n".join(f"{turn.role}: {turn.text}" for turn in sample.turns)


def attach_metadata(
    all_predictions: Sequence[StoredPredictions], metadata: DatasetMetadata
) -> tuple[list[StoredPredictions], list[str]]:
    """Return predictions with the metadata of their samples, and notes on gaps.

    A sample whose text has changed since the run counts as missing: ids such as row
    numbers stay while texts move.
    """
    notes = list(metadata.notes)
    attached = []
    stored: dict[SampleKey, Sample] | None = None
    for predictions in all_predictions:
        name, *rest = predictions.dataset.split(":")
        split = rest[-1] if rest else ""
        of_set = (name, split, predictions.task)
        sets = (d for d in metadata.large if (d.name, d.split, d.task) == of_set)
        part = next(sets, None)
        if part is not None:
            matched = match_in_order(part, predictions, _sample_metadata)
            if matched is not None:
                attached.append(replace(predictions, metadata=matched))
                continue
            metadata.by_sample.update(_metadata_of(part))
        keys = [(name, split, predictions.task, id_) for id_ in predictions.ids]
        of_samples = tuple(
            _if_unchanged(metadata.by_sample.get(key), content)
            for key, content in zip(keys, predictions.content, strict=True)
        )
        if None in of_samples and metadata.folder is not None:
            if stored is None:
                stored, problems = _read_stored(metadata.folder)
                notes += problems
            of_samples = _with_stored(of_samples, keys, predictions, stored)
        n_missing = sum(sample is None for sample in of_samples)
        # if all are missing, the dataset was not read, and a note says so already
        if n_missing and n_missing < len(of_samples):
            notes.append(
                f"{predictions.dataset}: {n_missing} samples are not there any more"
            )
        attached.append(replace(predictions, metadata=of_samples))
    return attached, list(dict.fromkeys(notes))


def _read_stored(folder: Path) -> tuple[dict[SampleKey, Sample], list[str]]:
    """Return the samples whose texts the run stored, and notes on damaged files."""
    samples: dict[SampleKey, Sample] = {}
    notes = []
    for path in text_files(folder):
        try:
            for text in read_texts(path):
                key = (text.dataset, text.split, text.sample.task, text.sample.id)
                samples[key] = text.sample
        except SafebenchError as error:
            notes.append(error.message)
    return samples, notes


def _with_stored(
    known: Sequence[SampleMetadata | None],
    keys: Sequence[SampleKey],
    predictions: StoredPredictions,
    stored: dict[SampleKey, Sample],
) -> tuple[SampleMetadata | None, ...]:
    """Return the metadata with that of stored texts, where nothing better is known.

    Groups and columns are those that were stored with the predictions.
    """
    groups = predictions.group or predictions.content
    columns = predictions.columns or (None,) * predictions.n
    result = list(known)
    for row, key in enumerate(keys):
        sample = None if known[row] is not None else stored.get(key)
        if sample is not None and sample.content == predictions.content[row]:
            result[row] = SampleMetadata(
                group=groups[row],
                meta=columns[row] or {},
                text=conversation_text(sample),
                length=sum(len(turn.text) for turn in sample.turns),
            )
    return tuple(result)


def _if_unchanged(
    entry: tuple[str, SampleMetadata] | None, content: str
) -> SampleMetadata | None:
    return entry[1] if entry is not None and entry[0] == content else None
