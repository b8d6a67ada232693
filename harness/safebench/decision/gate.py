"""Gate: whether a run keeps its promises, rule by rule, by the safe end of intervals.

A rule bounds a metric (`Bound`), or says by how much it may be worse than that of a
baseline on the same samples (non-inferiority). What is not known does not pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safebench.combination.changed_parts import changed_parts
from safebench.errors import RunFolderError
from safebench.results.reviewed_labels import ReviewedLabels
from safebench.results.rows import RESULTS_FILE
from safebench.results.runs import RUNS_FOLDER, results_files

from .bound_check import check_bound
from .gate_cells import (
    cells_at_point,
    cells_of,
    require_names,
    reviewed_cells,
    rows_of_test_parts,
    select_cells,
    stale_rows,
    state_of_run,
)
from .gate_rules import (
    NO_WORSE,
    GateReport,
    GateRequest,
    RuleResult,
    check_request,
    compared_metrics,
    no_worse_rule,
)
from .non_inferiority import check_against_baseline
from .operating_point import read_point

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from safebench.specs import MetricSpec


def run_gate(
    run: str | Path,
    request: GateRequest,
    specs: Mapping[str, MetricSpec],
    root: Path = RUNS_FOLDER,
) -> GateReport:
    """Apply rules to a run; `specs` are the installed metrics by name.

    Raises a SafebenchError for a mistake in the rules or names; whatever is wrong with
    a number fails the rules that rest on it.
    """
    check_request(request, specs)
    file = _results_of(run, root)
    folder = file.parent if file.name == RESULTS_FILE else file
    rows, damage = rows_of_test_parts(file)
    if damage:
        return GateReport(
            run=str(run), by=request.by, results=_all_failed(request, damage)
        )
    cells = select_cells(cells_of(rows, folder), request)
    unfinished, notes = state_of_run(folder)
    old = {} if unfinished else dict(changed_parts(folder))  # by label and dataset
    problems = stale_rows(cells, request, specs)
    if request.operating_point:
        point = read_point(request.operating_point)
        cells = cells_at_point(point, cells, specs, folder)
        notes.append(f"measured at the threshold of {request.operating_point}")
    if request.reviewed:
        cells, unreviewed = reviewed_cells(cells, specs, folder)
        old = unreviewed | old
        notes.append("by the labels that reviewers marked")
    require_names(request.bounds, cells)
    results = [
        check_bound(
            bound,
            cell,
            request,
            unfinished
            or old.get(cell.key, problems.get(cell.key, {}).get(bound.metric, "")),
        )
        for bound in request.bounds
        for cell in cells
        if all(name.casefold() in cell.names for name in bound.where)
    ]
    if request.baseline is not None:
        results += check_against_baseline(
            cells,
            request,
            specs,
            unfinished=unfinished,
            old=old,
            root=root,
            labels=ReviewedLabels([folder]) if request.reviewed else None,
        )
    return GateReport(
        run=str(run), by=request.by, results=tuple(results), notes=tuple(notes)
    )


def _results_of(run: str | Path, root: Path) -> Path:
    """Return the results of one run; raises RunFolderError for a folder of several."""
    files = results_files([run], root)
    if len(files) > 1:
        names = ", ".join(file.parent.name for file in files[:5])
        raise RunFolderError(f"{run} holds {len(files)} runs: name one, {names}")
    return files[0]


def _all_failed(request: GateRequest, reason: str) -> tuple[RuleResult, ...]:
    """Return a failure for each rule: nothing of the run can be used."""
    bounds = [(b.text, b.side, b.metric, b.value) for b in request.bounds]
    if request.baseline is not None:
        metrics = compared_metrics(request)
        bounds += [
            (no_worse_rule(name, request), NO_WORSE, name, request.margin)
            for name in metrics
        ]
    return tuple(
        RuleResult(
            rule=rule,
            kind=kind,
            metric=metric,
            cell="",
            dataset="",
            bound=bound,
            value=None,
            low=None,
            high=None,
            passed=False,
            reason=reason,
        )
        for rule, kind, metric, bound in bounds
    )
