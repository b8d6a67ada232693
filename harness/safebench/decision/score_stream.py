"""Scores in the order they came: of a JSON Lines file, or of a run as a reference.

A line is what `safebench score --json` and `serve` answer, or any JSON object with a
number in it. A line whose judgement failed has no score, whatever stands there.
"""

from __future__ import annotations

import codecs
import json
import math
import sys
from array import array
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from safebench.errors import DataError, IncompatibleError, OptionError, did_you_mean
from safebench.results.packed_columns import GroupNames, TextCollector
from safebench.results.prediction_reading import read_prediction_file
from safebench.results.score_shards import finished_shards, parquet_records
from safebench.results.selection import files_of_run
from safebench.results.stored_columns import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safebench.results.prediction_reading import PredictionFile
    from safebench.typing import Array

SCORE = "score"
_TIMES = ("time", "timestamp", "date")
_MAX_LISTED = 5
_MAX_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """Who scored: None where a line does not say."""

    classifier: str | None = None
    method: str | None = None
    model: str | None = None
    point: str | None = None

    @property
    def label(self) -> str:
        """What messages call it."""
        named = [name for name in (self.classifier, self.method) if name]
        return "/".join(named) or "an unnamed guard"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreStream:
    """n scores in their order: `score` (n,) is NaN where there is none.

    `lines` (n,) are their places in the file, from 1. `source` says whose they are,
    `n_pos` how many are of samples labelled unsafe (None: no labels), `notes` what was
    passed over.
    """

    name: str
    score: Array
    lines: Array
    source: ScoreSource = field(default_factory=ScoreSource)
    n_pos: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of lines, with and without a score."""
        return len(self.score)

    @property
    def missing(self) -> Array:
        """Which lines have no score, (n,) bool."""
        missing: Array = np.isnan(self.score)
        return missing

    @property
    def known(self) -> Array:
        """The scores that there are, in their order."""
        known: Array = self.score[~self.missing]
        return known


class ScoreLine(NamedTuple):
    """A line of a file of scores: NaN where it has none."""

    number: int
    score: float
    source: ScoreSource
    group: str | None
    time: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreLines:
    """n lines of a file of scores, in columns.

    `number` (n,) int, `score` and `time` (n,) float, NaN where there is none, `group`
    (n,) int, -1 where there is none. `source` (n,) int are places in `sources`.
    """

    number: Array
    score: Array
    time: Array
    group: Array
    source: Array
    sources: list[ScoreSource]

    @classmethod
    def of(cls, lines: Iterable[ScoreLine]) -> ScoreLines:
        """Take lines, one at a time."""
        numbers, scores, times = array("q"), array("d"), array("d")
        names, pending = TextCollector(hashes=True), list[str]()
        grouped, codes = array("q"), array("i")
        sources: dict[ScoreSource, int] = {}  # few, for many lines
        for line in lines:
            if line.group is not None:
                pending.append(line.group)
                grouped.append(len(numbers))
            if len(pending) == AT_ONCE:
                names.add(pending)
                pending.clear()
            numbers.append(line.number)
            scores.append(line.score)
            times.append(math.nan if line.time is None else line.time)
            codes.append(sources.setdefault(line.source, len(sources)))
        names.add(pending)
        group = np.full(len(numbers), -1)
        group[np.array(grouped, dtype=np.int64)] = GroupNames(names.packed()).codes
        return cls(
            number=np.array(numbers, dtype=np.int64),
            score=np.array(scores),
            time=np.array(times),
            group=group,
            source=np.array(codes, dtype=np.int32),
            sources=list(sources),
        )

    def __len__(self) -> int:
        return len(self.number)

    def select(self, rows: Array) -> ScoreLines:
        """Return some of the lines; `rows` are places, or (n,) bool."""
        columns: dict[str, Any] = {
            name: getattr(self, name)[rows]
            for name in ("number", "score", "time", "group", "source")
        }
        return replace(self, **columns)

    def source_at(self, row: int) -> ScoreSource:
        """Return whose score a line has."""
        return self.sources[int(self.source[row])]

    def first_lines(self) -> dict[ScoreSource, int]:
        """Return whose scores there are, in their order, and the number of the first.

        The sources of all lines, each once.
        """
        codes, rows = np.unique(self.source, return_index=True)
        ordered = sorted(zip(rows.tolist(), codes.tolist(), strict=True))
        return {self.sources[code]: int(self.number[row]) for row, code in ordered}


def read_stream(path: str, field_name: str = SCORE) -> ScoreLines:
    """Read a file of scores, a folder of them, or standard input for ``-``.

    Raises DataError for a line that is no JSON object or has something else than a
    number as its score, and if no line has the field.
    """
    name = "stdin" if path == "-" else path
    keys, seen = Counter[str](), False

    def lines() -> Iterator[ScoreLine]:
        nonlocal seen
        for number, where, record in _records(path, name):
            keys.update(record.keys())
            value, is_there = _value(record, field_name)
            seen |= is_there
            score = _score(value, record, where, field_name)
            group = record.get("group")
            group = None if group is None else str(group)
            yield ScoreLine(number, score, _source(record), group, _time(record))

    read = ScoreLines.of(lines())
    if not len(read):
        raise DataError(f"{name} holds no line")
    if not seen:
        listed = ", ".join(key for key, _ in keys.most_common(_MAX_LISTED))
        raise DataError(
            f"{name}: no line has a field {field_name!r}"
            f"{did_you_mean(field_name, keys)}; --score-field names it; there is: "
            f"{listed or 'none'}"
        )
    return read


def _records(path: str, name: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield the number, from 1, the place and the object of each line.

    Of a file, of the shards of a folder in their order, or of standard input.
    """
    file = Path(path)
    if path != "-" and file.is_dir():
        number = 0
        for shard in finished_shards(file):
            for _, where, record in _records(str(shard), str(shard)):
                number += 1
                yield number, where, record
    elif path != "-" and file.suffix == ".parquet":
        for number, record in enumerate(parquet_records(file), start=1):
            yield number, f"{name}[{number - 1}]", record
    else:
        # Windows begins files with a byte order mark, which JSON does not know.
        mark = codecs.BOM_UTF8
        for number, raw in enumerate(_lines(path), start=1):
            content, mark = raw.removeprefix(mark), b""
            if content.strip():
                yield number, f"{name}:{number}", _record(content, f"{name}:{number}")


def _lines(path: str) -> Iterator[bytes]:
    if path == "-":
        yield from _standard_input().split(b"\n")
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below
    except FileNotFoundError:
        raise DataError(
            f"no file of scores {path!r}; `safebench score --json - < prompts.jsonl > "
            "scores.jsonl` writes one"
        ) from None
    with file:
        yield from file


def _standard_input() -> bytes:
    if sys.stdin is None:  # closed by whoever started us
        raise DataError("standard input is closed, so - has no scores")
    return sys.stdin.buffer.read()


def _record(raw: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise DataError(f"{where}: no JSON object: damaged, cut off, or no JSON Lines")
    return record


def _value(record: dict[str, Any], field_name: str) -> tuple[Any, bool]:
    """Return a field, also of an object inside (``a.b``), and whether it is there."""
    if field_name in record:
        return record[field_name], True
    value: Any = record
    for part in field_name.split("."):
        if not isinstance(value, dict) or part not in value:
            return None, False
        value = value[part]
    return value, True


def _score(value: Any, record: dict[str, Any], where: str, field_name: str) -> float:
    """Return a score, NaN for a missing one."""
    if value is None or record.get("error"):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = json.dumps(value)[:_MAX_SHOWN]
        raise DataError(f"{where}: {field_name} is {shown}, no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    return number if math.isfinite(number) else math.nan


def _source(record: dict[str, Any]) -> ScoreSource:
    def text(name: str) -> str | None:
        value = record.get(name)
        return value if isinstance(value, str) else None

    method, checksum = text("strategy"), None
    calibrator = text("calibrator")
    point = record.get("operating_point")
    if isinstance(point, dict):
        checksum = str(point.get("checksum"))
        # the label of a point is CLASSIFIER/STRATEGY[+CALIBRATOR]
        calibrator = str(point.get("of", "")).rpartition("/")[2].partition("+")[2]
    if method and calibrator:
        method = f"{method}+{calibrator}"
    return ScoreSource(text("classifier"), method, text("model"), checksum)


def _time(record: dict[str, Any]) -> float | None:
    for name in _TIMES:
        value = record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            with suppress(OverflowError):  # an integer of hundreds of digits
                return float(value)
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value).timestamp()
            except (ValueError, OverflowError, OSError):
                continue
    return None


def read_reference(
    run: str, of: str, datasets: Sequence[str], part: str, hint: ScoreSource, seed: int
) -> ScoreStream:
    """Return the scores of a run's set; one sample a group, drawn by `seed`.

    `of` and `datasets` choose where there are several, else what `hint` says of the
    stream. Raises OptionError where that leaves a choice.
    """
    files = files_of_run(run, of, datasets)
    if not of and hint.method:
        files = [f for f in files if f.method == hint.method] or files
        files = [f for f in files if f.classifier == hint.classifier] or files
    _require_one(files)
    (file,) = files
    # A calibrator was fitted on the calibration part: its scores there are better.
    chosen = part or ("test" if file.calibrator else "all")
    stored = read_prediction_file(file.path, part=chosen)
    failed = np.array([error is not None for error in stored.errors], dtype=bool)
    score = np.where(failed, np.nan, stored.score)
    rows, n_groups = _one_a_group(stored.groups, seed)
    notes = []
    if n_groups < stored.n:
        notes.append(
            f"of {stored.n} reference samples one of each of {n_groups} groups is used"
        )
    n_pos = int(stored.y[rows].sum())
    notes.append(
        f"{n_pos} of {len(rows)} reference samples are unsafe: traffic with another "
        "share differs by that alone"
    )
    return ScoreStream(
        name=f"{file.label} on {stored.dataset}",
        score=score[rows],
        lines=np.arange(1, len(rows) + 1),
        source=ScoreSource(file.classifier, file.method, stored.model),
        n_pos=n_pos,
        notes=tuple(notes),
    )


def _require_one(files: Sequence[PredictionFile]) -> None:
    """Raise OptionError for several files: the reference is one of them."""
    labels = sorted({file.label for file in files})
    if len(labels) > 1:
        listed = ", ".join(labels[:_MAX_LISTED])
        raise OptionError(f"whose scores are the reference? say --of, one of {listed}")
    sets = [file.dataset for file in files]
    if len(sets) > 1:
        listed = ", ".join(sets[:_MAX_LISTED])
        raise OptionError(f"which set is the reference? say -d, one of {listed}")


def _one_a_group(groups: GroupNames, seed: int) -> tuple[Array, int]:
    """Return one row of each group at random, in their order."""
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = np.empty(groups.n_groups, dtype=np.int64)
    chosen[groups.codes[order]] = order  # of several the last one stays
    return np.sort(chosen), len(chosen)


def to_stream(lines: ScoreLines, name: str, wanted: ScoreSource) -> ScoreStream:
    """Return the lines that a reference can be compared with.

    Lines of other strategies are passed over if some are of the `wanted` one. Raises
    IncompatibleError for those of another guard or several operating points.
    """
    kept, notes = lines, []
    if wanted.method and any(source.method for source in lines.first_lines()):
        taken = (None, wanted.method)
        is_taken = np.array([source.method in taken for source in lines.sources])
        kept = lines.select(is_taken[lines.source])
        passed = lines.select(~is_taken[lines.source])
        others = sorted({source.label for source in passed.first_lines()})
        if not len(kept):
            raise IncompatibleError(
                f"{name} holds scores of {', '.join(others[:_MAX_LISTED])}, the "
                f"reference is of {wanted.label}"
            )
        if others:
            notes.append(f"{len(passed)} lines of {', '.join(others)} passed over")
    _require_same(kept, name, wanted)
    is_first = kept.group < 0
    is_first[np.unique(kept.group, return_index=True)[1]] = True
    first = kept.select(is_first)
    if len(first) < len(kept):
        notes.append(
            f"{len(kept) - len(first)} lines of groups that came before passed over"
        )
    times = first.time[~np.isnan(first.time)]
    backwards = int((np.diff(times) < 0).sum())
    if backwards:
        notes.append(
            f"times go back {backwards} times: lines are taken in the order of the file"
        )
    return ScoreStream(
        name=name,
        score=first.score,
        lines=first.number,
        source=first.source_at(0),
        notes=tuple(notes),
    )


def _require_same(lines: ScoreLines, name: str, wanted: ScoreSource) -> None:
    """Raise for lines that are not all of the guard that is wanted."""
    for source, number in lines.first_lines().items():
        if source.model and wanted.model and source.model != wanted.model:
            raise IncompatibleError(
                f"{name}:{number} is a score of {source.model}, the reference of "
                f"{wanted.model}"
            )
        # Without a model the name of the classifier is all there is.
        unnamed = not (source.model and wanted.model)
        names = (source.classifier, wanted.classifier)
        if unnamed and None not in names and len(set(names)) > 1:
            raise IncompatibleError(
                f"{name}:{number} is a score of {names[0]}, the reference of {names[1]}"
            )
    points: dict[str | None, int] = {}
    for source, number in lines.first_lines().items():
        points.setdefault(source.point, number)
    if len(points) > 1:
        places = ", ".join(f"line {number}" for number in sorted(points.values()))
        raise IncompatibleError(
            f"{name} mixes answers of {len(points)} operating points (or none), first "
            f"at {places}: watch each apart"
        )
