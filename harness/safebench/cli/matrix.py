"""`matrix`: which classifier goes with which strategy and with which data.

A run needs both: a strategy that can read what the classifier records, and a classifier
that answers the task of the data. Plain text that is never cut: columns have numbers
for headings, which a legend explains, and where there are more classifiers than fit in
a line, there are several tables.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from safebench.console import echo
from safebench.errors import OptionError, SafebenchError
from safebench.records import TASKS
from safebench.specs import ClassifierSpec, DatasetSpec, StrategySpec

from . import flags

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safebench.plugins import Plugins

    Mark = Literal["yes", "opt", "-"]

EPILOG = """\b
Examples:
  safebench matrix
  safebench matrix keyword joint
  safebench matrix -c guard,profile=qwen3guard --why
  safebench matrix -d mine.jsonl,task=injection
"""
WIDTH = 80
NAME_WIDTH = 36  # of strategies and data sets, with their indent
CELL = 3
# where the output cannot hold a tick, letters stand for it
TICKS = {"yes": "\N{CHECK MARK}", "opt": "o", "-": "\N{MIDDLE DOT}"}
LETTERS = {"yes": "x", "opt": "o", "-": "."}
LEGEND = {
    "yes": "goes together; a run needs one in both tables",
    "opt": "with other options of the classifier: see `safebench list guards`",
    "-": "does not: `safebench matrix CLASSIFIER STRATEGY` says why, --why all reasons",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A classifier as it was named: what it answers, and could answer by an option."""

    label: str
    spec: ClassifierSpec
    tasks: frozenset[str]
    by_option: frozenset[str]

    def mark(self, task: str) -> Mark:
        """Tell whether it can be run on data of a task."""
        if task in self.tasks:
            return "yes"
        return "opt" if task in self.by_option else "-"

    def reason(self, task: str) -> str:
        """Say why it cannot be run on data of a task as it is; "" if it can."""
        if task in self.tasks:
            return ""
        tasks = [name for name in TASKS if name in self.tasks]
        answers = f"answers {', '.join(tasks) or 'nothing without an option'}"
        return answers + ("; others by an option" if task in self.by_option else "")


@dataclass(frozen=True, slots=True)
class DataRow:
    """Data as a user names it, and its task."""

    label: str
    task: str


@click.command("matrix", epilog=EPILOG)
@click.argument("classifier", required=False, metavar="[CLASSIFIER]")
@click.argument("strategy", required=False, metavar="[STRATEGY]")
@flags.CLASSIFIERS.override(
    help="Only this classifier, with these options. Repeatable [default: all]."
)
@flags.STRATEGIES.override(help="Only this strategy. Repeatable [default: all].")
@flags.DATASET.with_parameter("datasets").override(
    multiple=True, help="Only this dataset, or FILE,task=TASK. Repeatable."
)
@click.option("--why", is_flag=True, help="Say of what does not fit why not.")
@flags.JSON
@click.pass_obj
def command(
    plugins: Plugins,
    classifier: str | None,
    strategy: str | None,
    classifiers: tuple[str, ...],
    strategies: tuple[str, ...],
    datasets: tuple[str, ...],
    why: bool,
    as_json: bool,
) -> None:
    """Show what can be run together: classifiers, strategies and data by task.

    A strategy fits a classifier that records what it reads, data a classifier that
    answers its task; data of every task can be a file of yours. With CLASSIFIER and
    STRATEGY, why these two go together or not, and what else would.
    """
    from safebench.datasets.pack import expand_packs

    classifiers += (classifier,) if classifier else ()
    strategies += (strategy,) if strategy else ()
    columns = _columns(plugins, classifiers)
    readers = [plugins.get(StrategySpec, name) for name in strategies] or sorted(
        plugins.all(StrategySpec), key=lambda spec: spec.name
    )
    data = [_data_row(plugins, text) for text, _ in expand_packs(datasets)]
    if as_json:
        for record in _records(columns, readers, data or _all_data(plugins)):
            echo(json.dumps(record))
    elif strategy:
        for line in _pairs(plugins, columns, readers):
            echo(line)
    else:
        tasks = [DataRow(_sets_of(plugins, task), task) for task in TASKS]
        for line in _grid(columns, readers, data or tasks, why=why):
            echo(line)


def _grid(
    columns: Sequence[Column],
    readers: Sequence[StrategySpec],
    data: Sequence[DataRow],
    *,
    why: bool,
) -> Iterator[str]:
    """Yield the tables, what the marks mean, and with `why` all reasons."""
    per_table = (WIDTH - NAME_WIDTH) // CELL
    # What does not fit goes into a table of its own: a wrapped one cannot be read.
    for start in range(0, len(columns), per_table):
        yield from _table(columns[start : start + per_table], readers, data, start)
        yield ""
    marks = _marks()
    yield from (f"{marks[mark]}  {meaning}" for mark, meaning in LEGEND.items())
    if why:
        yield ""
        yield from _reasons(columns, readers, data)


def _marks() -> dict[str, str]:
    """Return what stands in a cell, as far as standard output can show it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        "".join(TICKS.values()).encode(encoding)
    except UnicodeEncodeError:
        return LETTERS
    return TICKS


def _pairs(
    plugins: Plugins, columns: Sequence[Column], readers: Sequence[StrategySpec]
) -> Iterator[str]:
    """Yield of each pair whether it goes together, why not, and what else would.

    And what the classifier answers: a run needs data of such a task, too.
    """
    for column in columns:
        for reader in readers:
            yield from _pair(plugins, column, reader)
        tasks = ", ".join(task for task in TASKS if task in column.tasks)
        yield f"{column.label} answers {tasks or 'nothing without an option'}"
        by_option = ", ".join(task for task in TASKS if task in column.by_option)
        if by_option:
            yield f"  with other options {by_option}"
            yield "  see `safebench list guards`"


def _pair(plugins: Plugins, column: Column, reader: StrategySpec) -> Iterator[str]:
    from safebench.compatibility import explain_incompatible, missing_requirements

    pair = f"{column.label} x {reader.name}"
    missing = missing_requirements(column.spec, reader)
    if not missing:
        yield f"{pair}: yes"
        return
    yield f"{pair}: no, {reader.name} needs {', '.join(missing)}"
    _, _, *others = explain_incompatible(column.spec, reader, plugins).splitlines()
    yield from others


def _sets_of(plugins: Plugins, task: str) -> str:
    """Return how a task's sets are called together: all of them fit alike."""
    n = sum(s.task == task and not has_any_task(s) for s in plugins.all(DatasetSpec))
    sets = "1 set" if n == 1 else f"{n or 'no'} sets"
    return f"{task} ({sets})"


def _columns(plugins: Plugins, classifiers: Sequence[str]) -> list[Column]:
    from safebench.pipeline.config import parse_component_ref

    if not classifiers:
        specs = sorted(plugins.all(ClassifierSpec), key=lambda spec: spec.name)
        return [_column(spec.name, spec, {}, exact=False) for spec in specs]
    refs = [parse_component_ref(text) for text in classifiers]
    return [
        _column(ref.label, plugins.get(ClassifierSpec, ref.name), ref.options)
        for ref in refs
    ]


def _column(
    label: str, spec: ClassifierSpec, given: dict[str, Any], *, exact: bool = True
) -> Column:
    """Return a column; `exact` if its options are the user's, and no others count."""
    from safebench.options import build_options
    from safebench.pipeline.resolution import capabilities_of

    try:
        tasks = capabilities_of(spec, build_options(spec, given)).tasks
    except SafebenchError:
        if exact and given:
            raise
        # it needs an option, such as a model, before anything is known of it
        tasks = frozenset() if spec.capabilities else spec.tasks
    by_option = frozenset() if exact and given else spec.tasks - tasks
    return Column(label, spec, tasks, by_option)


def _data_row(plugins: Plugins, text: str) -> DataRow:
    """Return a row for what the user names; nothing is read.

    Raises `OptionError` for data whose task depends on its rows.
    """
    from safebench.datasets.resolve import resolve_dataset

    request = resolve_dataset(text, plugins)
    task = getattr(request.options, "task", request.spec.task)
    if task == "auto":
        raise OptionError(f"{text}: which task? say {text},task=TASK")
    return DataRow(text, task)


def _all_data(plugins: Plugins) -> list[DataRow]:
    """Return every named data set and a file, task by task."""
    named = [s for s in plugins.all(DatasetSpec) if not has_any_task(s)]
    return [
        row
        for task in TASKS
        for row in (
            *(DataRow(s.name, task) for s in named if s.task == task),
            DataRow(f"FILE,task={task}", task),
        )
    ]


def has_any_task(spec: DatasetSpec) -> bool:
    """Tell whether a dataset stands for files and hub sets of the user's."""
    from safebench.options import OptionSchema

    try:
        return "task" in OptionSchema.of(spec).names
    except SafebenchError:  # its options cannot be imported
        return False


def _table(
    columns: Sequence[Column],
    readers: Sequence[StrategySpec],
    data: Sequence[DataRow],
    start: int,
) -> Iterator[str]:
    """Yield the lines of one table; `start` is the number of its first column."""
    from safebench.compatibility import missing_requirements

    numbers = [str(start + i + 1) for i in range(len(columns))]
    for number, column in zip(numbers, columns, strict=True):
        yield f"{number:>3} {column.label}"
    head = "".join(f"{number:>{CELL}}" for number in numbers)
    yield ""
    yield f"{'strategy':<{NAME_WIDTH}}{head}"
    for reader in readers:
        missing = [missing_requirements(column.spec, reader) for column in columns]
        yield _line(f"  {reader.name}", ["-" if m else "yes" for m in missing])
    yield ""
    yield f"{'data, by task':<{NAME_WIDTH}}{head}"
    task = ""
    for row in data:
        named = row.label.startswith(f"{row.task} (")  # it says its task itself
        if row.task != task and not named:
            yield f"  {row.task}"
        task = row.task
        indent = "  " if named else "    "
        yield _line(f"{indent}{row.label}", [column.mark(task) for column in columns])


def _line(name: str, marks: Sequence[str]) -> str:
    shown = _marks()
    cells = "".join(f"{shown[mark]:>{CELL}}" for mark in marks)
    if len(name) < NAME_WIDTH:
        return f"{name:<{NAME_WIDTH}}{cells}"
    return f"{name}\n{'':<{NAME_WIDTH}}{cells}"  # a name is never cut


def _reasons(
    columns: Sequence[Column],
    readers: Sequence[StrategySpec],
    data: Sequence[DataRow],
) -> Iterator[str]:
    """Yield what does not fit, with the reason; those of one reason in one line."""
    from safebench.compatibility import (
        IncompatiblePair,
        format_skipped,
        missing_requirements,
    )

    pairs = [
        IncompatiblePair(
            column.label, reader.name, f"{reader.name} needs {', '.join(missing)}"
        )
        for column in columns
        for reader in readers
        if (missing := missing_requirements(column.spec, reader))
    ]
    yield from format_skipped(pairs)
    for column in columns:
        tasks = dict.fromkeys(row.task for row in data if column.reason(row.task))
        reasons: dict[str, list[str]] = {}
        for task in tasks:
            reasons.setdefault(column.reason(task), []).append(task)
        for reason, unanswered in reasons.items():
            yield f"{column.label} x data for {', '.join(unanswered)}: it {reason}"


def _records(
    columns: Sequence[Column],
    readers: Sequence[StrategySpec],
    data: Sequence[DataRow],
) -> Iterator[dict[str, Any]]:
    """Yield a JSON object for each classifier with a strategy, and with data."""
    from safebench.compatibility import missing_requirements

    for column in columns:
        for reader in readers:
            missing = missing_requirements(column.spec, reader)
            pair = {"classifier": column.label, "strategy": reader.name}
            yield pair | {"runs": not missing, "missing": missing}
        for row in data:
            yield {
                "classifier": column.label,
                "dataset": row.label,
                "task": row.task,
                "runs": row.task in column.tasks,
                "by_option": row.task in column.by_option,
                "reason": column.reason(row.task) or None,
            }
