"""The page that compares two runs, by the paired tests of `compare`."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from flask import render_template, request

from safebench.errors import DataError
from safebench.files import FileState, file_state
from safebench.metrics.intervals import can_compare
from safebench.number_format import format_metric
from safebench.reporters.comparison import remarks, verdict
from safebench.results.comparison import DEFAULT_METRICS, UNCERTAINTY_METRICS, compare
from safebench.results.run_files import PREDICTIONS_FOLDER
from safebench.results.selection import select_pairs
from safebench.specs import MetricSpec

from .browsed_runs import (
    MAX_PREDICTIONS_BYTES,
    check_size,
    without_surrogates,
)

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.results.comparison import Comparison
    from safebench.results.prediction_reading import PredictionFile

    from .browsed_runs import BrowsedRun
    from .state import AppState

MAX_COMPARED_BYTES = 32 * 2**20
_INSTEAD = "`safebench compare A B` reads it"
# Two at once would each take twice as long, and threads that wait serve nobody.
_LOCK = threading.Lock()


def compare_page(state: AppState, a: BrowsedRun, b: BrowsedRun) -> str:
    """Return the tests of one pair of predictions, with links to the other pairs.

    The pairs are those of `safebench compare`, in its order; the argument ``pair``
    counts them from 0. Raises `SafebenchError` where the runs share none.
    """
    for run in (a, b):
        _check_files(run)
    pairs = select_pairs(str(a.file.parent), str(b.file.parent))
    number = request.args.get("pair", 0, type=int)
    number = min(max(0, number), len(pairs) - 1)
    left, right = pairs[number]
    for file in (left, right):
        check_size(file.path, MAX_COMPARED_BYTES, _INSTEAD)
    with _LOCK:
        comparison = _cached_comparison(
            left,
            right,
            state.plugins,
            (*file_state(left.path), *file_state(right.path)),
        )
    return render_template(
        "compare.html",
        a=a,
        b=b,
        names=[_name(pair) for pair in pairs],
        number=number,
        comparison=comparison,
        verdict=verdict,
        remarks=list(remarks(comparison)),
        shown=format_metric,
    )


def _check_files(run: BrowsedRun) -> None:
    """Raise DataError before a pipe or a device is opened, which would never end."""
    for path in (run.file.parent / PREDICTIONS_FOLDER).glob("*/*/*"):
        check_size(path, MAX_PREDICTIONS_BYTES, _INSTEAD)


@lru_cache(maxsize=20)
def _cached_comparison(
    left: PredictionFile,
    right: PredictionFile,
    plugins: Plugins,
    state: FileState,  # noqa: ARG001 - a part of the key
) -> Comparison:
    specs = {
        spec.name: spec for spec in plugins.unambiguous(MetricSpec) if can_compare(spec)
    }
    compared = compare(
        [(left, right)],
        [specs[name] for name in DEFAULT_METRICS if name in specs],
        of_uncertainty=[specs[name] for name in UNCERTAINTY_METRICS if name in specs],
    )
    if not compared:
        raise DataError("these predictions share no sample")
    return compared[0]


def _name(pair: tuple[PredictionFile, PredictionFile]) -> str:
    a, b = pair
    labels = a.label if a.label == b.label else f"{a.label} and {b.label}"
    return without_surrogates(f"{labels} on {a.dataset}")
