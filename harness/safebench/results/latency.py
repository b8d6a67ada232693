"""Latency: how long one sample takes by itself, and its percentiles as result rows.

Each time is that of one call about one sample, from its text to its evidence, with the
model loaded; no part of the time of a batch. `LatencyLog` is where they are kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from safebench.checksums import sealed, unsealed
from safebench.files import set_aside, write_json

from .rows import LATENCY_METRICS, Row, interval_fields, joined_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence
    from pathlib import Path

    from safebench.records import Sample

LATENCY_FILE = "latency.json"
LATENCY_MODE = "single"  # beside "batched", what `seconds` and speeds are of
NOT_MEASURED = "not measured: run again with --latency N"
# With fewer, a percentile of 95 is but the slowest of all.
FEWEST_FOR_P95 = 20


class MeasuredSample(NamedTuple):
    """Seconds of one sample, None if it failed, and the group it belongs to."""

    seconds: float | None
    group: Hashable


@dataclass(slots=True)
class LatencyLog:
    """The times of one evidence key: seconds by group of kinds and by sample.

    A sample is named by `latency_key`; None is one that failed. `where` says on what
    they were measured, `warm_up` how many calls came before and are not counted.
    """

    where: dict[str, Any]
    warm_up: int
    seconds: dict[str, dict[str, float | None]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the log in an evidence folder, None if there is none.

        Raises ValueError or TypeError for a file that was changed.
        """
        try:
            text = (folder / LATENCY_FILE).read_text("utf-8")
        except FileNotFoundError:
            return None
        content = unsealed(json.loads(text))
        try:
            return cls(content["where"], content["warm_up"], content["seconds"])
        except KeyError as error:
            raise ValueError(f"it lacks {error}") from None

    def write(self, folder: Path) -> None:
        """Write the log, in one step."""
        content = {
            "where": self.where,
            "warm_up": self.warm_up,
            "seconds": self.seconds,
        }
        write_json(folder / LATENCY_FILE, sealed(content))


def latency_key(content: str, task: str) -> str:
    """Return what a sample is called in a log: by its text and what is asked of it."""
    return f"{content}:{task}"


def stored_log(folder: Path, log: Callable[[str], None]) -> LatencyLog | None:
    """Return the log of an evidence folder; a damaged one is set aside, and none."""
    try:
        return LatencyLog.read(folder)
    except (ValueError, TypeError, RecursionError, OSError):
        aside = set_aside(folder / LATENCY_FILE).name
        log(f"{folder / LATENCY_FILE} is damaged: set aside as {aside}")
        return None


def latency_by_row(
    log: LatencyLog | None, group: str, samples: Sequence[Sample]
) -> dict[int, float | None]:
    """Return the times by row; of samples that read the same, at the first alone."""
    known = {} if log is None else log.seconds.get(group, {})
    if not known:  # of most runs: samples of a large set are not gone through
        return {}
    rows: dict[str, int] = {}
    for row, sample in enumerate(samples):
        rows.setdefault(latency_key(sample.content, sample.task), row)
    return {rows[key]: taken for key, taken in known.items() if key in rows}


def latency_rows(
    shared: Mapping[str, Any], measured: Sequence[MeasuredSample], how: str
) -> list[Row]:
    """Return a row a percentile, seconds; `shared` are the fields of the others.

    `how` says in a note how the samples were measured. Failed ones are left out, and
    counted in the note.
    """
    return [
        _row(name, share, shared, measured, how)
        for name, share in LATENCY_METRICS.items()
    ]


def unknown_latency_rows(shared: Mapping[str, Any], reason: str) -> list[Row]:
    """Return the rows of percentiles that are not known, with the reason."""
    return [
        Row(
            **{**shared, "latency_mode": LATENCY_MODE},
            metric=name,
            value=None,
            higher_is_better=False,
            n_scored=0,
            note=reason,
        )
        for name in LATENCY_METRICS
    ]


def latency_lines(rows: Sequence[Row]) -> list[str]:
    """Return a line on each classifier, dataset and recording that was measured."""
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        if row.metric in LATENCY_METRICS:
            name = ":".join(filter(None, (row.dataset, row.config, row.split)))
            key = (row.classifier, row.strategy, row.calibrator or "", name)
            found.setdefault(key, {})[row.metric] = row
    lines = []
    for (classifier, *_, dataset), by_metric in found.items():
        texts = [
            f"{name.removeprefix('latency_')} {_seconds(by_metric[name].value)}"
            for name in LATENCY_METRICS
        ]
        n = by_metric["latency_p50"].n_scored
        lines.append(
            f"{classifier} on {dataset}: latency {', '.join(texts)} ({n} samples, one "
            "at a time)"
        )
    return list(dict.fromkeys(lines))  # strategies that read one recording say the same


def _seconds(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g} s"


def _row(
    name: str,
    share: float,
    shared: Mapping[str, Any],
    measured: Sequence[MeasuredSample],
    how: str,
) -> Row:
    from safebench.statistics.order_statistics import quantile_interval

    answered = [(s.seconds, s.group) for s in measured if s.seconds is not None]
    failed = len(measured) - len(answered)
    notes = [how]
    if failed:
        notes.append(f"{failed} of {len(measured)} failed and are left out")
    interval = None
    if not answered:
        notes.append("no sample was answered")
    elif share > LATENCY_METRICS["latency_p50"] and len(answered) < FEWEST_FOR_P95:
        notes.append(f"needs {FEWEST_FOR_P95} samples, there are {len(answered)}")
    else:
        seconds, groups = zip(*answered, strict=True)
        interval = quantile_interval(seconds, share, groups)
    value = None if interval is None else interval.value
    return Row(
        **{**shared, "latency_mode": LATENCY_MODE},
        **interval_fields(value, interval),
        metric=name,
        value=value,
        higher_is_better=False,
        n_scored=len(answered),
        note=joined_notes(*notes),
    )
