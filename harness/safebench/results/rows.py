"""Rows of the results table, one a metric, and the file `results.jsonl` of them."""

from __future__ import annotations

import json
import sys
from dataclasses import MISSING, dataclass, field, fields
from math import isfinite
from typing import TYPE_CHECKING, Any, get_type_hints

from safebench.checksums import bytes_checksum
from safebench.errors import DataError
from safebench.files import atomic_write, set_aside, write_lines

from .run_files import read_unchanged, replacing_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from safebench.statistics import Interval


# The format of rows, predictions and manifest, raised where their numbers come about in
# another way. 1: intervals by a bootstrap. Folders of either format are read, resumed.
SCHEMA = 2
RESULTS_FILE = "results.jsonl"
TEST_LABELS = (
    "test"  # start of `threshold_from` of what saw the labels of the test part
)
# fields that joined the format: rows that do not need them stay as they were
_LEFT_OUT_IF_NONE = ("pack", "pack_missing", "licence", "mix", "review")
# Percentiles of the seconds that single samples take, and the share below each.
LATENCY_METRICS = {"latency_p50": 0.5, "latency_p95": 0.95}
_MAX_SHOWN = 10  # bad lines of a file in one message
_MAX_BAD = 1000  # then it is no file of rows, and the rest is not read


def joined_notes(*notes: str) -> str:
    """Return notes as one text, each once and without empty ones."""
    return "; ".join(dict.fromkeys(filter(None, notes)))


def interval_fields(value: float | None, interval: Interval | None) -> dict[str, Any]:
    """Return the fields of a value's interval, None where either is not known."""
    fields: dict[str, Any] = dict.fromkeys(("ci_low", "ci_high", "ci_method"))
    if value is None or interval is None:
        return fields
    if interval.low is None:
        return fields | {"ci_method": f"none: {interval.method}"}
    method = f"{interval.method}, {interval.n_groups} groups"
    return {"ci_low": interval.low, "ci_high": interval.high, "ci_method": method}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A metric of one classifier x strategy x dataset; None where nothing applies.

    `n` counts samples with a known label, `n_scored` those that the value rests on.
    `n_conflicting` counts samples whose text has the other label, too. `bound_low`,
    `bound_high` are what bounded scores leave open, `ci_low`, `ci_high` the sampling
    interval. `threshold_from` is ``fixed``, ``calibration`` or ``test
    (original)``: a row that saw the test labels is never ranked. `seconds` is the
    time of the forward passes. Evidence that datasets share is paid by the one that it
    was recorded for; for the others, `cost_shared_with` names it, with the number of
    samples. `pack` is the pack (``id@version``, or several) by which the dataset was
    named, `pack_missing` its sets that could not be read; other rows are written
    without the two. `policy` is the classifier's, `policy_map` how gold labels were
    projected. `calibrator` is the label of the one that made the score a probability.
    `slice`, `category` and `prevalence` (None: as in the data) are for rows about a
    part of the samples, which `safebench run` does not write; `safebench analyze --gaps
    --save` writes those of slices. `licence` is that of a
    public set, `mix` says how many samples each of joined sets has. `review` says of a
    number with reviewed labels how they came about (see `reviewed_rows`); no run
    writes such rows.
    """

    schema: int = SCHEMA
    run: str
    classifier: str
    model: str
    revision: str | None = None
    strategy: str
    params: dict[str, Any] = field(default_factory=dict)
    calibrator: str | None = None
    dataset: str
    config: str | None = None
    split: str | None = None
    part: str = "test"
    task: str
    pack: str | None = None
    pack_missing: str | None = None
    policy: str | None = None
    policy_map: str | None = None
    slice: str | None = None
    category: str | None = None
    metric: str
    value: float | None
    ci_low: float | None = None
    ci_high: float | None = None
    ci_method: str | None = None
    bound_low: float | None = None
    bound_high: float | None = None
    higher_is_better: bool | None = None
    n: int
    n_pos: int | None = None
    n_neg: int | None = None
    n_scored: int | None = None
    n_failed: int = 0
    n_truncated: int | None = None
    n_conflicting: int | None = None
    prevalence: float | None = None
    threshold: float | None = None
    threshold_from: str | None = None
    seconds: float | None = None
    samples_per_second: float | None = None
    forward_passes: float | None = None
    tokens: int | None = None
    peak_memory_mib: float | None = None
    cost_shared_with: str | None = None
    latency_mode: str | None = None
    device: str | None = None
    dtype: str | None = None
    versions: dict[str, Any] = field(default_factory=dict)
    commit: str | None = None
    evidence_key: str | None = None
    data_hash: str | None = None
    split_hash: str | None = None
    contaminated: bool | None = None
    licence: str | None = None
    mix: str | None = None
    review: dict[str, Any] | None = None
    note: str = ""

    @property
    def combination(self) -> tuple[Any, ...]:
        """What was measured on what: equal for all metrics of one table line."""
        return (
            self.classifier,
            self.model,
            self.revision,
            self.evidence_key,
            self.strategy,
            # A threshold changes no evidence: chosen anew, it replaces the row.
            canonical_json({k: v for k, v in self.params.items() if k != "threshold"}),
            self.calibrator,
            self.dataset,
            self.config,
            self.split,
            self.task,
        )

    @property
    def saw_test_labels(self) -> bool:
        """Tell whether the threshold was chosen with the labels it is judged by."""
        return (self.threshold_from or "").startswith(TEST_LABELS)

    @property
    def is_of_whole_test_part(self) -> bool:
        """Tell whether a row is about all samples of the test part, as they are."""
        narrowed = (self.slice, self.category, self.prevalence)
        return self.part == "test" and narrowed == (None, None, None)

    @property
    def key(self) -> tuple[Any, ...]:
        """What makes a new row take the place of an old one.

        Neither the run nor what may change on the same evidence (threshold, number of
        samples) is part of it.
        """
        return (
            *self.combination,
            self.part,
            self.policy,
            self.slice,
            self.category,
            self.prevalence,
            self.metric,
        )


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys: equal text for equal values."""
    return json.dumps(_finite(value), sort_keys=True, ensure_ascii=False, default=str)


def to_json(row: Row) -> str:
    """Return one line of JSON, fields in their order, NaN and infinity as null."""
    record = {f.name: _finite(getattr(row, f.name)) for f in fields(Row)}
    for name in _LEFT_OUT_IF_NONE:
        if record[name] is None:
            del record[name]
    return json.dumps(record, ensure_ascii=False, allow_nan=False, default=str)


def from_json(line: str) -> Row:
    """Read one line; fields of later versions are passed over.

    Raises ValueError for text that is no JSON object, or holds no row.
    """
    try:
        record = json.loads(line, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\ud" in line.casefold():  # half a surrogate pair: no file could hold it again
        canonical_json(record).encode("utf-8")
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the text is at fault
    missing = [name for name in _REQUIRED if name not in record]
    if missing:
        raise ValueError(f"no field {', '.join(missing)}")
    known = {name: record[name] for name in _TYPES if name in record}
    for name, value in known.items():
        if not isinstance(value, _TYPES[name]):
            raise ValueError(f"field {name!r} cannot be {value!r:.60}")  # noqa: TRY004
        # JSON has whole numbers of any size; tables and tests read them as floats.
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise ValueError(f"field {name!r} is too large for a number")
    return Row(**known)


def _finite(value: Any) -> Any:
    """Return `value` with each float that JSON cannot write as None."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar: this module does not import numpy
        value = value.item()
    if isinstance(value, float):
        return float(value) if isfinite(value) else None
    return value


def _accepted_types(hint: Any) -> Any:
    """Return what `isinstance` takes for a field: a float may be written as an int."""
    if hint == dict[str, Any]:
        return dict
    if hint == dict[str, Any] | None:
        return dict | None
    return hint | int if isinstance(0.0, hint) else hint


_TYPES = {name: _accepted_types(hint) for name, hint in get_type_hints(Row).items()}
_REQUIRED = tuple(
    f.name for f in fields(Row) if f.default is MISSING and f.default_factory is MISSING
)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file, in order; bad lines are named ``FILE:LINE``.

    Raises `DataError`, also for the results of a run folder that were changed since.
    """
    rows, bad = _read_lines(path, read_unchanged(path), most_bad=_MAX_BAD)
    if len(bad) > _MAX_SHOWN:
        least = "at least " if len(bad) == _MAX_BAD else ""
        bad[_MAX_SHOWN:] = [f"... and {least}{len(bad) - _MAX_SHOWN} more"]
    if bad:
        raise DataError("\n".join(bad))
    return rows


def _read_lines(
    path: Path, content: bytes, most_bad: int | None = None
) -> tuple[list[Row], list[str]]:
    """Return the rows of a file up to the last bad line that is of interest.

    And what is wrong with the bad ones.
    """
    rows: list[Row] = []
    bad: list[str] = []
    # by "\n" alone: names may hold U+2028, at which `splitlines` splits, too
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(from_json(line.decode("utf-8")))
        except UnicodeDecodeError as error:
            bad.append(f"{path}:{number}: no UTF-8 text, so no results: {error}")
        except ValueError as error:
            bad.append(f"{path}:{number}: no result row: {error}")
        if len(bad) == most_bad:
            break
    return rows, bad


def set_aside_damaged_rows(path: Path) -> str | None:
    """Keep a copy of a file that cannot be read whole, and write its good rows again.

    Returns a line for the user if there was something to mend. Only for the one writer
    of the folder.
    """
    if path.is_dir():
        return f"{path} is a folder: set aside as {set_aside(path).name}"
    rows, bad = _read_lines(path, path.read_bytes()) if path.exists() else ([], [])
    if not bad:
        return None
    # a copy and no renaming: killed in between, the good rows would be gone
    aside = set_aside(path, keep=True)
    write_lines(path, map(to_json, rows))
    lines = "line" if len(bad) == 1 else "lines"
    return (
        f"{path} is damaged ({len(bad)} {lines}): set aside as {aside.name}; "
        f"{len(rows)} rows are kept, those of this command are computed again"
    )


def _has_failed(row: Row) -> bool:
    """Tell whether a row says that its part failed before anything was recorded."""
    return row.value is None and row.evidence_key is None and row.n_scored == 0


def _part(row: Row) -> tuple[Any, ...]:
    """Return what a row is about, without what only a loaded model knows."""
    return (
        *(row.classifier, row.strategy, row.calibrator),
        *(row.part, row.slice, row.category),
        *(row.dataset, row.config, row.split, row.task),
    )


def _set(row: Row) -> tuple[Any, ...]:
    """Return the part of a set that a row is about, or that its slice is cut from."""
    return (
        *(row.classifier, row.strategy, row.calibrator, row.part),
        *(row.dataset, row.config, row.split, row.task),
    )


def _changed_sets(old: Iterable[Row], new: Iterable[Row]) -> set[tuple[Any, ...]]:
    """Return the sets of which new rows say something else than the old ones.

    Slices that were cut from the old predictions say nothing of the new ones.
    """
    values: dict[tuple[Any, ...], str] = {}
    origins: dict[tuple[Any, ...], set[str]] = {}
    for row in old:
        # measured apart from what slices are cut from: anew, it says nothing of those
        if row.slice is None and row.metric not in LATENCY_METRICS:
            values[row.key] = _what_it_says(row)
            origins.setdefault(_set(row), set()).add(_origin(row))
    return {
        _set(row)
        for row in new
        if row.slice is None
        and row.metric not in LATENCY_METRICS
        and (
            # a metric that joins on the same predictions changes nothing
            values.get(row.key, _what_it_says(row)) != _what_it_says(row)
            or _origin(row) not in origins.get(_set(row), {_origin(row)})
        )
    }


def _what_it_says(row: Row) -> str:
    return canonical_json((row.value, row.n, row.n_scored, row.n_failed))


def _origin(row: Row) -> str:
    told = (row.combination, row.threshold, row.data_hash, row.split_hash)
    return canonical_json(told)


def merge_rows(
    path: Path, rows: Iterable[Row], drop: Callable[[Row], bool] | None = None
) -> list[Row]:
    """Write `rows` into a file and return all of its rows, old ones but for `drop`.

    A row takes the place of an old one with the same key; others keep their place, new
    ones are added at the end. A part that failed before it was known what it records
    has no evidence key: any new row about the part takes the place of its rows. Rows of
    slices leave with what they were cut from: where new rows say something else of the
    whole part. A crash leaves the old file or the new one.
    """
    new = {row.key: row for row in rows}
    parts = {_part(row) for row in new.values()}
    old = read_rows(path) if path.exists() else []
    changed = _changed_sets(old, new.values())
    merged = {
        row.key: row
        for row in old
        if not (_has_failed(row) and _part(row) in parts)
        and not (row.slice is not None and _set(row) in changed)
        and not (drop is not None and drop(row))
    }
    # A key that is there keeps its place in the order.
    merged.update(new)
    text = "".join(to_json(row) + "\n" for row in merged.values())
    with (
        replacing_files({path: bytes_checksum(text.encode("utf-8"))}),
        atomic_write(path) as file,
    ):
        file.write(text)
    return list(merged.values())
