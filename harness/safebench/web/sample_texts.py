"""The texts of a run's samples, for the pages: read again from the data sets.

A run folder holds no prompt. Its data sets are read once a run and kept in memory; a
text is shown only if its hash is the one that the run stored.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from safebench.analysis.sample_metadata import read_run_datasets
from safebench.isolation import describe_error
from safebench.results.run_files import CONFIG_FILE

from .browsed_runs import FileState, file_state, without_surrogates

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.records import Sample

    from .prediction_index import SampleKey

CACHED_RUNS = 2
# A data set that could not be read may be there soon: somebody attaches it.
RETRY_SECONDS = 10.0
# A data set may take minutes; threads that all wait for it would serve no other page.
BUSY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class SampleTexts:
    """The samples of a run's data sets, and what could not be read."""

    samples: dict[tuple[str, str, str, str], Sample]
    notes: tuple[str, ...] = ()

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
    try:
        return file_state(folder / CONFIG_FILE)
    except OSError:
        return ()


def _read_texts(folder: Path, plugins: Plugins, data_root: str | None) -> SampleTexts:
    samples: dict[tuple[str, str, str, str], Sample] = {}
    notes = []
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
    return SampleTexts(samples, tuple(notes))
