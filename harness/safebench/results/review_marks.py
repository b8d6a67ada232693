"""Marks of reviewers on the labels of a run's samples, kept beside the run.

``reviews.jsonl`` in a run folder has one mark a line, for each sample and reviewer. It
holds no text of a data set: a sample is named by its set, its id and the hash of its
texts. The file belongs to no run: whoever repeats one leaves it as it is.
"""

from __future__ import annotations

import json
import stat
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from safebench.errors import (
    DataError,
    OptionError,
    RunFolderError,
    SafebenchError,
    unknown_name,
)
from safebench.files import write_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from .prediction_reading import PredictionLine

REVIEW_FILE = "reviews.jsonl"
MARKS = ("right", "wrong", "unclear")
SCHEMA = 1
MAX_REVIEWER = 80  # characters of a name
MAX_NOTE = 500
MAX_REVIEWERS = 20  # of one sample: strangers on a page cannot fill the disk
MAX_BYTES = 64 * 2**20
_LOCK_SECONDS = 10.0


class ReviewedSample(NamedTuple):
    """What tells a sample from all others, with the hash of its texts."""

    dataset: str
    config: str | None
    split: str | None
    task: str
    id: str
    content: str

    @property
    def set_name(self) -> str:
        """The name of its set in tables: ``name[:config]:split``."""
        return ":".join(filter(None, (self.dataset, self.config, self.split)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMark:
    """What one reviewer says of the label of one sample.

    `label` is the label that was reviewed, True for positive: another one since makes
    the mark void. `by` and `note` are the reviewer's own words, "" for none, `at` the
    time in UTC. Raises OptionError for another word than `MARKS`, and for long texts.
    """

    sample: ReviewedSample
    label: bool
    mark: str
    by: str = ""
    at: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.mark not in MARKS:
            raise unknown_name("mark", self.mark, MARKS)
        for name, most in (("by", MAX_REVIEWER), ("note", MAX_NOTE)):
            length = len(getattr(self, name))
            if length > most:
                what = "reviewer's name" if name == "by" else name
                raise OptionError(
                    f"the {what} has {length:,} characters, and may have {most}"
                )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all reviewers of a sample say together; `label` is what they looked at.

    Reviewers who say different things make a label unclear (`disagree`).
    """

    label: bool
    mark: str
    disagree: bool = False


def sample_of_line(line: PredictionLine) -> ReviewedSample:
    """Return the sample of a stored prediction; raises DataError without its names."""
    names = {name: line.get(name) for name in ("dataset", "task", "content")}
    for name, value in names.items():
        if not isinstance(value, str) or not value:
            raise DataError(f"the prediction has no {name}: its label takes no mark")
    config, split = (line.get(name) or None for name in ("config", "split"))
    return ReviewedSample(
        names["dataset"],  # type: ignore[arg-type]
        config,
        split,
        names["task"],  # type: ignore[arg-type]
        str(line["id"]),
        names["content"],  # type: ignore[arg-type]
    )


def now() -> str:
    """Return this moment as marks have it, in UTC to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def read_marks(folder: Path) -> list[LabelMark]:
    """Return the marks of a run folder; none if nobody made any.

    Raises DataError that names the line for a file that somebody damaged.
    """
    path = folder / REVIEW_FILE
    try:
        status = path.stat()
    except FileNotFoundError:
        return []
    # folders come from anywhere: a pipe would be read without end
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise DataError(
            f"{path} is no file of marks: a file of up to {MAX_BYTES // 2**20} MiB"
        )
    content = path.read_bytes()
    return [
        _parse_mark(line, f"{path}:{number}")
        for number, line in enumerate(content.split(b"\n"), 1)
        if line.strip()
    ]


def _parse_mark(line: bytes, place: str) -> LabelMark:
    try:
        record = json.loads(line)
        sample = ReviewedSample(*(record[name] for name in ReviewedSample._fields))
        values = {name: record[name] for name in _OWN_FIELDS if name in record}
        return _checked(LabelMark(sample=sample, **values))
    except (ValueError, KeyError, TypeError, RecursionError, SafebenchError) as error:
        raise DataError(
            f"{place} is no mark of a reviewer: it was edited or damaged; mend the "
            "line, or delete it"
        ) from error


def _checked(mark: LabelMark) -> LabelMark:
    """Return a mark whose fields have their types; raises TypeError for others."""
    sample = mark.sample._replace(
        config=mark.sample.config or "", split=mark.sample.split or ""
    )
    for text in (*sample, mark.mark, mark.by, mark.at, mark.note):
        if not isinstance(text, str):
            raise TypeError(f"{text!r:.40} is no text")
    if not isinstance(mark.label, bool):
        raise TypeError("the label is neither true nor false")
    return mark


_OWN_FIELDS = tuple(f.name for f in fields(LabelMark) if f.name != "sample")


def _to_json(mark: LabelMark) -> str:
    record: dict[str, Any] = {"schema": SCHEMA} | mark.sample._asdict()
    record |= {name: getattr(mark, name) for name in _OWN_FIELDS}
    return json.dumps(record)  # of ASCII: names may hold half a surrogate pair


def store_mark(folder: Path, mark: LabelMark) -> None:
    """Store a mark, in place of the one that its reviewer made of the sample before.

    Raises RunFolderError while somebody else writes, OSError where nobody can.
    """
    with _only_writer(folder):
        others = _without(read_marks(folder), mark.sample, mark.by)
        reviewers = [other.by for other in others if other.sample == mark.sample]
        if len(reviewers) >= MAX_REVIEWERS:
            raise OptionError(f"{len(reviewers)} reviewers have marked this sample")
        _write(folder, [*others, mark])


def remove_mark(folder: Path, sample: ReviewedSample, by: str) -> None:
    """Remove what a reviewer said of a sample, if there is anything."""
    with _only_writer(folder):
        marks = read_marks(folder)
        others = _without(marks, sample, by)
        if len(others) < len(marks):
            _write(folder, others)


def _without(
    marks: Iterable[LabelMark], sample: ReviewedSample, by: str
) -> list[LabelMark]:
    return [mark for mark in marks if (mark.sample, mark.by) != (sample, by)]


def _write(folder: Path, marks: Sequence[LabelMark]) -> None:
    write_lines(folder / REVIEW_FILE, map(_to_json, marks))


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Let nobody else change the marks of a folder: several servers may show it.

    The lock of runs stays free: a label can be reviewed while a run goes on.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / f".{REVIEW_FILE}.lock", timeout=_LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        raise RunFolderError(
            f"marks are being written to {folder} by somebody else: try again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def verdicts(marks: Iterable[LabelMark]) -> dict[ReviewedSample, Verdict]:
    """Return what the reviewers of each sample say together.

    Of one reviewer's marks in several runs the last counts.
    """
    last: dict[tuple[ReviewedSample, str], LabelMark] = {}
    for mark in sorted(marks, key=lambda mark: mark.at):
        last[mark.sample, mark.by] = mark
    by_sample: dict[ReviewedSample, list[LabelMark]] = defaultdict(list)
    for mark in last.values():
        by_sample[mark.sample].append(mark)
    return {sample: _together(own) for sample, own in by_sample.items()}


def _together(marks: Sequence[LabelMark]) -> Verdict:
    # reviewers of other labels looked at another version of the set: the last one
    label = max(marks, key=lambda mark: mark.at).label
    said = {mark.mark for mark in marks if mark.label == label}
    if len(said) > 1:
        return Verdict(label, "unclear", disagree=True)
    return Verdict(label, said.pop())
