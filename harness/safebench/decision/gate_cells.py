"""What a gate measures: the cells of a run, and why their numbers cannot be used.

A cell is a classifier with a strategy on a dataset. Its rows are held against the
predictions beside them, the manifest, and what was combined since.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from safebench.config_file import OptionFile
from safebench.errors import (
    DataError,
    OptionError,
    RunFolderError,
    SafebenchError,
    unknown_name,
)
from safebench.metrics.compute import compute
from safebench.metrics.intervals import definition_of
from safebench.results.comparison import names_of_row
from safebench.results.outcomes import to_outcome
from safebench.results.prediction_reading import prediction_files, read_prediction_file
from safebench.results.reviewed_rows import reviewed_rows
from safebench.results.rows import Row, read_rows
from safebench.results.run_files import CONFIG_FILE, MANIFEST_FILE, parse_manifest
from safebench.results.runs import run_names

from .rows_at_threshold import GivenThreshold, rows_at_threshold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from safebench.metrics import Outcome
    from safebench.results.prediction_reading import PredictionFile
    from safebench.specs import MetricSpec

    from .gate_rules import Bound, GateRequest
    from .operating_point import OperatingPoint


# Stored numbers may be rounded once; another measurement differs by more.
_SAME = 1e-6
_VERIFIED_NEEDS = frozenset({"score", "probability", "decision"})


class GateCell(NamedTuple):
    """What is measured on what: its rows by metric, and its stored predictions."""

    label: str
    classifier: str
    method: str
    dataset: str
    rows: dict[str, list[Row]]
    file: PredictionFile | None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the other cells of a run."""
        return self.label, self.dataset

    @property
    def names(self) -> set[str]:
        """What rules may call it, in lower case."""
        known = {self.label, self.classifier, self.method, self.dataset}
        known.add(self.dataset.partition(":")[0])
        return {name.casefold() for name in known}


def rows_of_test_parts(path: Path) -> tuple[list[Row], str]:
    """Return the rows of whole test parts, or why they cannot be used."""
    try:
        rows = read_rows(path)
    except DataError as error:
        return [], " ".join(error.message.split())
    whole = [row for row in rows if row.is_of_whole_test_part]
    return whole, "" if whole else f"{path} has no results of a test part"


def state_of_run(folder: Path) -> tuple[str, list[str]]:
    """Return why the results may be old ("" if they are not), and notes on the run."""
    try:
        status = parse_manifest(folder / MANIFEST_FILE).get("status")
    except FileNotFoundError:
        return "", ["no manifest: nobody knows whether the results were edited"]
    except ValueError as error:
        return f"the manifest of the run is damaged: {error}", []
    if status != "done":
        return (
            f"the last command of the run has not finished (status {status!r}), the "
            "results may be older: repeat it"
        ), []
    try:
        limit = OptionFile.read(folder / CONFIG_FILE).content.get("limit")
    except SafebenchError:  # only for a note
        limit = None
    if limit is None:
        return "", []
    return "", [f"a random part of each set was measured (--limit {limit})"]


def cells_of(rows: Iterable[Row], folder: Path) -> list[GateCell]:
    """Return the cells of a run in the order of its results."""
    try:
        files = {(f.classifier, f.dataset, f.method): f for f in _files(folder)}
    except DataError:  # whoever reads the file is told what is wrong
        files = {}
    cells: dict[tuple[str, str], GateCell] = {}
    for row in rows:
        method = "+".join(filter(None, (row.strategy, row.calibrator)))
        dataset = ":".join(filter(None, (row.dataset, row.config, row.split)))
        label = f"{row.classifier}/{method}"
        file = files.get(names_of_row(row))
        cell = GateCell(label, row.classifier, method, dataset, {}, file)
        known = cells.setdefault((label, dataset), cell)
        known.rows.setdefault(row.metric, []).append(row)
    return list(cells.values())


def _files(folder: Path) -> list[PredictionFile]:
    try:
        return prediction_files(folder)
    except RunFolderError:
        return []


def select_cells(cells: list[GateCell], request: GateRequest) -> list[GateCell]:
    """Return the cells that `--of` and `-d` name, or refuse with the nearest name."""
    of = request.of.casefold()
    if of:
        # The whole label first: a strategy may be called as a classifier is.
        by_name = [
            [cell for cell in cells if getattr(cell, name).casefold() == of]
            for name in ("label", "method", "classifier")
        ]
        chosen = next(filter(None, by_name), None)
        if chosen is None:
            known = {n for c in cells for n in (c.label, c.method, c.classifier)}
            raise unknown_name("results --of", request.of, known)
        cells = chosen
    wanted = {name.casefold() for name in request.datasets}
    names = {n for c in cells for n in (c.dataset, c.dataset.partition(":")[0])}
    for name in request.datasets:
        if name.casefold() not in {known.casefold() for known in names}:
            raise unknown_name("dataset in this run", name, names)
    return [cell for cell in cells if not wanted or wanted & cell.names]


def require_names(bounds: Sequence[Bound], cells: Sequence[GateCell]) -> None:
    """Raise for a rule that is about nothing of the run: it would pass in silence."""
    known = {n for c in cells for n in (c.label, c.classifier, c.method, c.dataset)}
    known |= {cell.dataset.partition(":")[0] for cell in cells}
    for bound in bounds:
        for name in bound.where:
            if name.casefold() not in {k.casefold() for k in known}:
                raise unknown_name(f"name after @ in --{bound.side}", name, known)
        wanted = {name.casefold() for name in bound.where}
        if not any(wanted <= cell.names for cell in cells):
            raise OptionError(
                f"--{bound.side} {bound.metric}@{'@'.join(bound.where)}: nothing in "
                "the run is all of that"
            )


def stale_rows(
    cells: Sequence[GateCell], request: GateRequest, specs: Mapping[str, MetricSpec]
) -> dict[tuple[str, str], dict[str, str]]:
    """Return by cell and metric why a row is not what its predictions say."""
    wanted = {bound.metric for bound in request.bounds}
    problems: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        if cell.file is None:
            continue
        try:
            outcome = to_outcome(read_prediction_file(cell.file.path))
        except SafebenchError as error:
            reason = " ".join(error.message.split())
            problems[cell.key] = dict.fromkeys(wanted, reason)
            continue
        reasons = {
            name: reason
            for name in wanted & cell.rows.keys()
            if (reason := _stale(cell.rows[name][-1], specs[name], outcome))
        }
        problems[cell.key] = reasons
    return problems


def _stale(row: Row, spec: MetricSpec, outcome: Outcome) -> str:
    """Return how a row differs from the predictions beside it, "" if it does not."""
    if row.n != outcome.n:
        return (
            f"the row counts {row.n} samples, the stored predictions {outcome.n}: it "
            "is of another command, run again"
        )
    if not spec.needs <= _VERIFIED_NEEDS or definition_of(spec) is None:
        return ""
    computed = [value for _, value in compute(outcome, [spec])]
    value = computed[0].value if computed else None
    if value is None or row.value is None or abs(value - row.value) <= _SAME:
        return ""
    return (
        f"the row says {row.value:.4g}, the stored predictions {value:.4g}: it is of "
        "another command, run again"
    )


def reviewed_cells(
    cells: Sequence[GateCell], specs: Mapping[str, MetricSpec], folder: Path
) -> tuple[list[GateCell], dict[tuple[str, str], str]]:
    """Return the cells by reviewed labels, and by cell why its numbers prove nothing.

    Only where every label was reviewed do the marks not depend on what the guard gets
    wrong. Raises OptionError where no label of the cells was.
    """
    (name,) = run_names([folder])
    rows = [
        replace(row, run=name)
        for cell in cells
        for same in cell.rows.values()
        for row in same
    ]
    both = reviewed_rows(rows, [folder], list(specs.values()))
    reviewed = cells_of([row for row in both if row.review is not None], folder)
    by_key = {cell.key: cell for cell in reviewed}
    reasons = {}
    for cell in cells:
        row = next(iter(by_key.get(cell.key, cell).rows.values()))[-1]
        if reason := _why_not_reviewed(row):
            reasons[cell.key] = reason
    return [by_key.get(cell.key, cell) for cell in cells], reasons


def _why_not_reviewed(row: Row) -> str:
    """Return how many labels lack a mark, "" if none does."""
    review = row.review or {"n_reviewed": 0, "n_unclear": 0}
    if "n_reviewed" not in review:  # its predictions are not there
        return row.note
    n = row.n + review["n_unclear"]
    if review["n_reviewed"] == n:
        return ""
    return (
        f"{review['n_reviewed']:,} of {n:,} labels were reviewed: a promise needs all "
        "of them, since marks where a guard errs improve its numbers"
    )


def cells_at_point(
    point: OperatingPoint,
    cells: Sequence[GateCell],
    specs: Mapping[str, MetricSpec],
    folder: Path,
) -> list[GateCell]:
    """Return the cells of an operating point's score, measured at its threshold."""
    (name,) = run_names([folder])
    rows = [
        replace(row, run=name)
        for cell in cells
        for same in cell.rows.values()
        for row in same
    ]
    given = GivenThreshold(point.threshold, point)
    return cells_of(
        rows_at_threshold(rows, [folder], given, list(specs.values())), folder
    )
