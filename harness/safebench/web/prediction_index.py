"""An index of a file of predictions: what filters and orders need, and where lines are.

A page shows a hundred of 10^5 predictions. The file is parsed once for each state of
it; after that a page reads its own lines alone, wherever they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import unknown_name
from safebench.files import FileState, file_state
from safebench.results.parquet_predictions import (
    iter_parquet_lines,
    read_parquet_rows,
)
from safebench.results.prediction_reading import FORMS, parse_prediction_line

from .browsed_runs import without_surrogates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from safebench.results.prediction_reading import PredictionLine
    from safebench.typing import Array

UNKNOWN = -1  # of decisions and labels, which are 0 or 1 otherwise
CACHED_FILES = 8
PARQUET = FORMS["parquet"]


class SampleKey(NamedTuple):
    """What tells a sample from all others of a run, and the hash of its texts."""

    dataset: str
    split: str
    task: str
    id: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictionIndex:
    """The n predictions of a file, in its order.

    `offsets` (n,) int are where their lines begin, in bytes, and `numbers` (n,) int
    count lines from 1; of a parquet file both count rows. `decision` and `label` (n,)
    int are 1, 0, or `UNKNOWN`; `score`, `uncertainty` and `threshold` (n,) float are
    NaN where there is none. `failed` (n,) bool says which have an error, `held_out`
    (n,) bool which are of the calibration part.
    """

    path: Path
    offsets: Array
    numbers: Array
    decision: Array
    label: Array
    score: Array
    uncertainty: Array
    threshold: Array
    failed: Array
    held_out: Array
    samples: tuple[SampleKey, ...]

    @property
    def n(self) -> int:
        """Number of predictions."""
        return len(self.samples)

    @property
    def wrong(self) -> Array:
        """Which were decided against their label, (n,) bool; unknown ones never are."""
        known = (self.decision != UNKNOWN) & (self.label != UNKNOWN)
        wrong: Array = known & (self.decision != self.label)
        return wrong

    @property
    def lottery(self) -> Array:
        """A number for each sample, (n,) float, by its hash: a random order.

        It is the same for every file of a data set.
        """
        return np.array([_drawn(sample) for sample in self.samples])

    def read(self, rows: Sequence[int]) -> list[PredictionLine]:
        """Return the predictions of some rows, as they are stored."""
        name = without_surrogates(self.path.name)
        if self.path.suffix == PARQUET:
            return read_parquet_rows(self.path, rows, name)
        lines = []
        with self.path.open("rb") as file:
            for row in rows:
                file.seek(int(self.offsets[row]))
                place = f"{name}:{self.numbers[row]}"
                lines.append(parse_prediction_line(file.readline(), place))
        return lines


class PredictionFilter(NamedTuple):
    """Which predictions to show, and in which order.

    `key` gives values by which the lowest come first, NaN last; without one,
    predictions stay in the order of their file. `order` says it in words.
    """

    title: str
    matches: Callable[[PredictionIndex], Array]
    key: Callable[[PredictionIndex], Array] | None = None
    order: str = "in the order of the file"


def _margin(index: PredictionIndex) -> Array:
    """Return how sure predictions are: less uncertainty, or farther from the threshold.

    A file without any uncertainty falls back on the distance of score and threshold.
    """
    if not np.isnan(index.uncertainty).all():
        return -index.uncertainty
    distance: Array = np.abs(index.score - index.threshold)
    return distance


FILTERS = {
    "all": PredictionFilter("all", lambda index: np.ones(index.n, dtype=bool)),
    "wrong": PredictionFilter("wrong", lambda index: index.wrong),
    "false-negatives": PredictionFilter(
        "false negatives",
        lambda index: index.wrong & (index.label == 1),
        lambda index: index.score,
        "worst first: the lowest scores of samples that are positive",
    ),
    "false-positives": PredictionFilter(
        "false positives",
        lambda index: index.wrong & (index.label == 0),
        lambda index: -index.score,
        "worst first: the highest scores of samples that are negative",
    ),
    "failed": PredictionFilter("failed", lambda index: index.failed),
    "least-sure": PredictionFilter(
        "least sure",
        lambda index: ~np.isnan(_margin(index)),
        _margin,
        "least sure first: by uncertainty, or without one by the distance of the score "
        "from the threshold",
    ),
    "random": PredictionFilter(
        "random order",
        lambda index: np.ones(index.n, dtype=bool),
        lambda index: index.lottery,
        "in a random order, the same each time: labels reviewed from its beginning on "
        "are a fair part of all",
    ),
}


def matching_rows(
    index: PredictionIndex, show: str, matches_text: Callable[[SampleKey], bool] | None
) -> list[int]:
    """Return the rows of a filter in its order, of those whose sample matches.

    Raises `UnknownNameError` for a filter that there is not.
    """
    if show not in FILTERS:
        raise unknown_name("kind of predictions", show, FILTERS)
    rows = _ordered_rows(index, show)
    if matches_text is None:
        return list(rows)
    return [row for row in rows if matches_text(index.samples[row])]


@lru_cache(maxsize=4 * CACHED_FILES)
def _ordered_rows(index: PredictionIndex, show: str) -> tuple[int, ...]:
    chosen = FILTERS[show]
    rows = np.flatnonzero(chosen.matches(index))
    if chosen.key is not None:
        # stable: equal values stay in the order of the file
        rows = rows[np.argsort(chosen.key(index)[rows], kind="stable")]
    return tuple(rows.tolist())


def read_index(path: Path) -> PredictionIndex:
    """Return the index of a file of predictions, from memory if it is as it was.

    Raises `DataError` for a line that is no prediction.
    """
    return _cached_index(path, file_state(path))


@lru_cache(maxsize=CACHED_FILES)
def _cached_index(path: Path, state: FileState) -> PredictionIndex:  # noqa: ARG001
    offsets, numbers, samples = [], [], []
    names = (
        *("decision", "label", "score", "uncertainty", "threshold"),
        *("failed", "held_out"),
    )
    values: dict[str, list[Any]] = {name: [] for name in names}
    # one object for each text: most fields say the same in all lines
    texts: dict[str, str] = {}
    for offset, number, line in _parsed_lines(path):
        offsets.append(offset)
        numbers.append(number)
        values["failed"].append(line.get("error") is not None)
        values["held_out"].append(line.get("part") == "calibration")
        for name in ("decision", "label"):
            value = line.get(name)
            values[name].append(int(value) if isinstance(value, bool) else UNKNOWN)
        for name in ("score", "uncertainty", "threshold"):
            values[name].append(_number(line.get(name)))
        key = sample_key(line)
        dataset, split, task = (texts.setdefault(text, text) for text in key[:3])
        samples.append(SampleKey(dataset, split, task, key.id, key.content))
    types = {
        "decision": np.int8,
        "label": np.int8,
        "failed": np.bool_,
        "held_out": np.bool_,
    }
    return PredictionIndex(
        path=path,
        offsets=np.array(offsets, dtype=np.int64),
        numbers=np.array(numbers, dtype=np.int64),
        samples=tuple(samples),
        **{
            name: np.array(column, dtype=types.get(name, np.float64))
            for name, column in values.items()
        },
    )


# the fields of predictions that an index needs
_INDEXED = (
    *("id", "content", "dataset", "split", "task", "decision", "label", "part"),
    *("score", "uncertainty", "threshold", "error"),
)


def sample_key(line: PredictionLine) -> SampleKey:
    """Return the sample that a prediction is about, "" for what is not stored."""
    dataset, split, task = (_text(line.get(n)) for n in ("dataset", "split", "task"))
    return SampleKey(dataset, split, task, str(line["id"]), _text(line.get("content")))


def _parsed_lines(path: Path) -> Iterator[tuple[int, int, PredictionLine]]:
    """Yield where each line begins, its number, and its prediction."""
    offset = 0
    name = without_surrogates(path.name)
    if path.suffix == PARQUET:
        lines = iter_parquet_lines(path, _INDEXED, name)
        yield from ((row, row + 1, line) for row, line in enumerate(lines))
        return
    with path.open("rb") as file:  # split at "\n" alone: texts may hold U+2028
        for number, line in enumerate(file, 1):
            if line.strip():
                yield offset, number, parse_prediction_line(line, f"{name}:{number}")
            offset += len(line)


def _drawn(sample: SampleKey) -> float:
    digest = hashlib.sha256(f"review:{sample.content}:{sample.id}".encode(*_LENIENT))
    return int.from_bytes(digest.digest()[:6], "big") / 2**48


_LENIENT = ("utf-8", "surrogatepass")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return np.nan
    return float(value)  # raises for a whole number that no double holds


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
