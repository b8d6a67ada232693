"""The texts of a run's samples, for the pages: read again from the data sets.

A run folder holds no prompt, unless `run --keep-text` stored them there. Its data sets
are read once a run and kept in memory; a text is shown only if its hash is the one that
the run stored.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from safebench.analysis.sample_metadata import read_run_datasets
from safebench.errors import SafebenchError
from safebench.files import FileState, file_state
from safebench.isolation import describe_error
from safebench.pipeline.config import load_run_config
from safebench.results.run_files import CONFIG_FILE, MANIFEST_FILE, parse_manifest
from safebench.results.stored_texts import TEXTS, read_texts, text_files

from .browsed_runs import (
    check_size,
    describe_problem,
    without_surrogates,
)

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.records import Sample

    from .prediction_index import SampleKey

CACHED_RUNS = 2
MAX_TEXT_BYTES = 512 * 2**20
# A data set that could not be read may be there soon: somebody attaches it.
RETRY_SECONDS = 10.0
# A data set may take minutes; threads that all wait for it would serve no other page.
BUSY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class SampleTexts:
    """The samples of a run's data sets, and what could not be read.

    `stored` names the data sets whose texts lie in the run folder, with their licences.
    """

    samples: dict[tuple[str, str, str, str], Sample]
    notes: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()

    def get(self, key: SampleKey) -> Sample | None:
        """Return a sample if its texts are those that the run judged."""
        sample = self.samples.get((key.dataset, key.split, key.task, key.id))
        if sample is None or not key.content or sample.content != key.content:
            return None
        return sample

    def contains(self, key: SampleKey, words: str) -> bool:
        """Tell whether a sample's id or texts hold `words`, which are casefolded."""
        if words in key.id.casefold():
            return True
        sample = self.get(key)
        return sample is not None and any(
            words in turn.text.casefold() for turn in sample.turns
        )


class _Known(NamedTuple):
    state: FileState
    read_at: float
    texts: SampleTexts


class SampleTextCache:
    """The texts of the runs that were looked at last; threads may share it."""

    def __init__(self, plugins: Plugins, data_root: str | None) -> None:
        self._plugins = plugins
        self._data_root = data_root
        self._known: OrderedDict[Path, _Known] = OrderedDict()
        # one reader at a time: two pages of one run need its data once
        self._lock = threading.Lock()

    def of_run(self, folder: Path) -> SampleTexts:
        """Return the texts of a run; what cannot be read is a note."""
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            note = "data sets are being read for another page: reload this one soon"
            return SampleTexts({}, (note,))
        try:
            state = _config_state(folder)
            known = self._known.get(folder)
            if known is None or known.state != state or _is_stale(known):
                texts = _read_texts(folder, self._plugins, self._data_root)
                known = _Known(state, time.monotonic(), texts)
                self._known[folder] = known
            self._known.move_to_end(folder)
            while len(self._known) > CACHED_RUNS:
                self._known.popitem(last=False)
            return known.texts
        finally:
            self._lock.release()


def _is_stale(known: _Known) -> bool:
    age = time.monotonic() - known.read_at
    return bool(known.texts.notes) and age > RETRY_SECONDS


def _config_state(folder: Path) -> FileState:
    """Return what changes with the data sets of a run, or with its stored texts."""
    state: FileState = ()
    for path in (folder / CONFIG_FILE, *text_files(folder)):
        with suppress(OSError):
            state += file_state(path)
    return state


def _read_texts(folder: Path, plugins: Plugins, data_root: str | None) -> SampleTexts:
    kept = _kept_texts(folder)
    if kept.is_whole:
        return SampleTexts(kept.samples, kept.notes, kept.stored)
    samples: dict[tuple[str, str, str, str], Sample] = {}
    notes = list(kept.notes)
    try:
        for part in read_run_datasets(folder, plugins, data_root):
            if isinstance(part, str):
                notes.append(without_surrogates(part))
                continue
            samples |= {
                (part.name, part.split, part.task, sample.id): sample
                for sample in part.samples
            }
    # readers of plugins, on files of others: predictions are shown without texts
    except Exception as error:  # noqa: BLE001
        reason = without_surrogates(describe_error(error))
        notes.append(f"the data sets of this run cannot be read again: {reason}")
    return SampleTexts(samples | kept.samples, tuple(notes), kept.stored)


class _Kept(NamedTuple):
    """What a run folder has of its texts; `is_whole`: those of all its data sets."""

    samples: dict[tuple[str, str, str, str], Sample]
    notes: tuple[str, ...]
    stored: tuple[str, ...]
    is_whole: bool


def _kept_texts(folder: Path) -> _Kept:
    samples: dict[tuple[str, str, str, str], Sample] = {}
    labels: set[str] = set()
    notes = []
    for path in text_files(folder):
        try:
            check_size(path, MAX_TEXT_BYTES, "its data set may be at hand")
            for text in read_texts(path):
                key = (text.dataset, text.split, text.sample.task, text.sample.id)
                samples[key] = text.sample
                labels.add(text.label)
        except (SafebenchError, OSError) as error:
            notes.append(describe_problem(error))
    stored, data = _manifest_entries(folder)
    licences = tuple(
        without_surrogates(f"{label}: {entry.get('licence')}")
        for label, entry in stored.items()
        if isinstance(entry, dict)
    )
    is_whole = bool(data) and data <= labels and _keeps_texts(folder)
    return _Kept(samples, tuple(notes), licences, is_whole)


def _keeps_texts(folder: Path) -> bool:
    """Tell whether the last command of a run stored the texts of all it judged."""
    try:
        return bool(load_run_config(folder / CONFIG_FILE, {}).keep_text)
    except (SafebenchError, OSError):
        return False


def _manifest_entries(folder: Path) -> tuple[dict[str, Any], set[str]]:
    """Return what a manifest says of stored texts, and the labels of its data sets."""
    try:
        manifest = parse_manifest(folder / MANIFEST_FILE)
    except (OSError, ValueError):
        return {}, set()
    stored, data = manifest.get(TEXTS), manifest.get("data")
    return (
        stored if isinstance(stored, dict) else {},
        set(data) if isinstance(data, dict) else set(),
    )
