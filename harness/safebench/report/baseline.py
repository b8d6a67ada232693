"""Everything else compared with one baseline, by the paired tests of `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from safebench.analysis.text_table import TextTable
from safebench.errors import OptionError, RunFolderError
from safebench.number_format import format_metric, format_number
from safebench.reporters.comparison import verdict
from safebench.results.comparison import compare
from safebench.results.prediction_reading import prediction_files
from safebench.results.runs import run_names
from safebench.results.selection import named_files
from safebench.sanitize import sanitize
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from safebench.plugins import Plugins
    from safebench.reporters.table import Leaderboard
    from safebench.results.comparison import Comparison, MetricComparison
    from safebench.results.prediction_reading import PredictionFile

METRICS = ("auroc", "f1", "recall", "fpr")
NOTE = (
    "difference: the line minus the baseline on the samples that both have, with its "
    "95 % interval; p by a paired test, adjusted for all lines of all sets (Holm)"
)
_DECIMALS = 3
_SMALLEST_P = 0.001


class BaselineTable(NamedTuple):
    """Differences to the baseline on one set."""

    dataset: str
    table: TextTable


class _Compared(NamedTuple):
    """A line of the scores with its file, and the baseline's file on its set."""

    dataset: str
    name: str
    baseline: PredictionFile
    file: PredictionFile


def compare_with_baseline(
    table: Leaderboard | None, name: str, folders: Sequence[Path], plugins: Plugins
) -> tuple[tuple[BaselineTable, ...], tuple[str, ...]]:
    """Return a table a set, and notes on what could not be compared.

    Each line of the scores of `table` is compared with the baseline's line on its
    set; where the baseline has several (it is a whole run), with that of the same guard
    and strategy. Raises UnknownNameError for a name that nothing has, OptionError where
    nothing can be compared.
    """
    of_baseline = named_files(name, folders)
    pairs = list(_pairs(table, of_baseline, folders)) if table else []
    if not pairs:
        raise OptionError(
            f"--baseline {name}: nothing else in this report is on its sets"
        )
    known = {spec.name: spec for spec in plugins.unambiguous(MetricSpec)}
    specs = [known[metric] for metric in METRICS if metric in known]
    comparisons = compare([(pair.baseline, pair.file) for pair in pairs], specs)
    by_set: dict[str, list[tuple[str, ...]]] = {}
    for pair, comparison in zip(pairs, comparisons, strict=True):
        rows = by_set.setdefault(pair.dataset, [])
        rows += _rows(pair.name, comparison)
    tables = [
        BaselineTable(dataset, _table(dataset, rows))
        for dataset, rows in by_set.items()
    ]
    return tuple(tables), (NOTE, *_notes(comparisons))


def _pairs(
    table: Leaderboard, of_baseline: Sequence[PredictionFile], folders: Sequence[Path]
) -> Iterator[_Compared]:
    files = _files_by_line(folders)
    several = len(folders) > 1
    for line in (table.blocks or (table,))[0].lines:
        strategy = line.strategy.partition(" [")[0]  # as lines of one name are told
        method = "+".join(filter(None, (strategy, line.calibrator)))
        key = (line.run, line.classifier, method, _plain(line.dataset))
        file = files.get(key)
        if file is None:
            continue
        on_set = [f for f in of_baseline if _plain(f.dataset) == _plain(line.dataset)]
        same = [f for f in on_set if (f.classifier, f.method) == key[1:3]]
        other = on_set[0] if len(on_set) == 1 else next(iter(same), None)
        if other is None or other.path.resolve() == file.path.resolve():
            continue
        run = f" [{line.run}]" if several else ""
        yield _Compared(line.section, f"{line.classifier}/{method}{run}", other, file)


def _files_by_line(
    folders: Sequence[Path],
) -> dict[tuple[str, str, str, str], PredictionFile]:
    files = {}
    for name, folder in zip(run_names(folders), folders, strict=True):
        try:
            of_run = prediction_files(folder)
        except RunFolderError:  # without predictions: nothing to test
            continue
        for file in of_run:
            key = (name, file.classifier, file.method, _plain(file.dataset))
            files[key] = file
    return files


def _plain(dataset: str) -> str:
    return dataset.replace(":", ".")


def _rows(name: str, comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for line in comparison.lines:
        if line.difference is None or line.a is None or line.b is None:
            continue
        low, high = line.difference.low, line.difference.high
        known = low is not None and high is not None
        yield (
            sanitize(name),
            line.metric,
            format_metric(line.a.value, line.metric, _DECIMALS),
            format_metric(line.b.value, line.metric, _DECIMALS),
            _signed(line.difference.value),
            f"[{_signed(low)} {_signed(high)}]" if known else "",
            _p_text(line.holm),
            _verdict(line),
        )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:+.3f}"


def _p_text(p: float | None) -> str:
    if p is None:
        return "-"
    return f"<{_SMALLEST_P}" if p < _SMALLEST_P else format_number(p)


def _verdict(line: MetricComparison) -> str:
    if line.better:
        return "better" if line.better == "b" else "worse"
    return verdict(line)


def _table(dataset: str, rows: list[tuple[str, ...]]) -> TextTable:
    return TextTable(
        title=dataset,
        headers=(
            *("guard and strategy", "metric", "baseline", "this", "difference"),
            *("95 %", "p", ""),
        ),
        rows=tuple(rows),
        text_columns=2,
    )


def _notes(comparisons: Sequence[Comparison]) -> Iterator[str]:
    left_out = max(comparison.left_out for comparison in comparisons)
    if left_out:
        yield f"samples that only one of two has are left out, up to {left_out:,}"
    if any(any(comparison.failed) for comparison in comparisons):
        yield "failed samples count as wrong decisions, and have no score"
