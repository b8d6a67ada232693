"""`leaderboard`: the results of runs as one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import flags

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from safebench.console import RenderOptions
    from safebench.decision.rows_at_threshold import GivenThreshold
    from safebench.plugins import Plugins
    from safebench.results import Row
    from safebench.specs import MetricSpec

EPILOG = """\b
Examples:
  safebench leaderboard
  safebench leaderboard runs/keyword-starter --metrics auroc,fpr --sort fpr
  safebench leaderboard runs/keyword-starter --ci --metrics auroc,f1
  safebench leaderboard --metrics auroc,costs --sort latency_p95
  safebench leaderboard runs/a runs/b --format md
  safebench leaderboard -c llamaguard -d xstest -d toxic_chat --average --ci
  safebench leaderboard --pivot --metrics f1
  safebench leaderboard --ci --format html -o leaderboard.html
  safebench leaderboard --format parquet -o leaderboard.parquet
  safebench leaderboard runs/a --prevalence .001 --ci
  safebench leaderboard runs/a --threshold .62
  safebench leaderboard runs/a --slice language --ci
  safebench leaderboard runs/a runs/b --threshold point.json --ci
  safebench leaderboard runs/a --labels reviewed --ci
"""


@click.command("leaderboard", epilog=EPILOG)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@flags.CLASSIFIERS.override(
    metavar="NAME", help="Only this classifier. Repeatable [default: all]."
)
@flags.STRATEGIES.override(
    metavar="NAME[+CALIBRATOR]", help="Only this strategy. Repeatable [default: all]."
)
@flags.DATASET.with_parameter("datasets").override(
    help="Only this dataset. Repeatable [default: all]."
)
@click.option(
    "--average",
    is_flag=True,
    help="Means over the datasets, each of them counted alike, in place of a line on "
    "each; with --ci, intervals as of independent samples.",
)
@click.option(
    "--pivot",
    is_flag=True,
    help="One metric (--metrics, else AUROC) with a column for every dataset.",
)
@flags.METRICS.override(
    help="Columns, in this order; see `safebench list metrics`; costs: speed, latency, "
    "passes, tokens and memory [default: the usual ones that are there]."
)
@click.option(
    "--sort",
    metavar="NAME",
    help="Metric or other column that orders the lines, best first, names from A to Z "
    "[default: auroc].",
)
@click.option(
    "--ci",
    is_flag=True,
    help="Show 95 % confidence intervals, and mark what does not differ "
    "significantly from the best.",
)
@click.option(
    "--prevalence",
    type=flags.SHARE,
    metavar="SHARE",
    help="Precision, alerts and misses per million where this share of prompts is "
    "unsafe, from recall and FPR as measured.",
)
@click.option(
    "--threshold",
    metavar="X|FILE",
    help="Decide by score >= X, or by the threshold of an operating point, instead of "
    "as in the run, from stored predictions; of a point, its guard's lines alone.",
)
@click.option(
    "--calibrator",
    metavar="NAME",
    help="Only scores with this calibrator, none for raw ones, or all [default: all].",
)
@click.option(
    "--slice",
    "column",
    metavar="COLUMN",
    help="Gaps between the slices by a column, and each slice's numbers, as stored by "
    "`safebench analyze RUN --gaps --save`.",
)
@flags.LABELS.override(
    help="reviewed: also the numbers with the labels that reviewers marked in "
    "`safebench serve`: wrong ones turned round, unclear ones left out [default: "
    "stored].",
)
@click.option(
    "--with-reference",
    "reference",
    is_flag=True,
    help="Add published numbers on the same datasets, dimmed and never ranked.",
)
@click.option(
    "--notes",
    is_flag=True,
    help="Show every note below the table; otherwise those on how it is read are "
    "counted where they are many.",
)
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    default=None,
    help="table, md, csv, latex, json, html, parquet, or a plugin's [default: table].",
)
@click.option(
    "-o",
    "--out",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to a file instead of standard output.",
)
@click.pass_obj
def command(  # noqa: PLR0917 - click names them all
    plugins: Plugins,
    runs: tuple[str, ...],
    classifiers: tuple[str, ...],
    strategies: tuple[str, ...],
    datasets: tuple[str, ...],
    average: bool,
    pivot: bool,
    metrics: str | None,
    sort: str | None,
    ci: bool,
    prevalence: float | None,
    threshold: str | None,
    calibrator: str | None,
    column: str | None,
    labels: str,
    reference: bool,
    notes: bool,
    form: str | None,
    output: Path | None,
) -> None:
    """Compare runs: one line per classifier, strategy and dataset.

    RUN is a run folder or a results.jsonl; without one, every run in ./runs.
    """
    from safebench.combination.changed_parts import note_changed_parts
    from safebench.errors import OptionError
    from safebench.results import read_runs
    from safebench.results.row_filter import filter_rows
    from safebench.results.runs import results_files

    names = flags.split_names(metrics)
    folders = [file.parent for file in results_files(runs)]
    rows = filter_rows(read_runs(runs), classifiers, strategies, datasets)
    rows = note_changed_parts(rows, folders)
    rows = _with_calibrator(rows, calibrator)
    if average and reference:
        raise OptionError(
            "published numbers are on one set each: leave out --with-reference or "
            "--average"
        )
    if pivot and (average or reference or len(names) > 1):
        raise OptionError(
            "--pivot shows measured numbers of one metric on every dataset, and their "
            "mean: leave out --average, --with-reference and all metrics but one"
        )
    clashing = {
        "--with-reference": reference,
        "--threshold": threshold is not None,
        "--prevalence": prevalence is not None,
        "--average": average,
        "--pivot": pivot,
    }
    if labels == "reviewed":
        rows = _reviewed(
            rows, folders, clashing | {"--slice": column is not None}, plugins
        )
    rows = _by_slice(rows, column, folders, clashing)
    given = None
    if threshold is not None:
        from safebench.decision.rows_at_threshold import (
            read_threshold,
            rows_at_threshold,
        )
        from safebench.specs import MetricSpec

        if reference:
            raise OptionError(
                "published numbers are those of their thresholds: leave out "
                "--with-reference or --threshold"
            )
        given = read_threshold(threshold)
        specs = plugins.unambiguous(MetricSpec)
        rows = rows_at_threshold(rows, folders, given, specs)
    if prevalence is not None:
        from safebench.decision import prevalence_rows
        from safebench.reporters.table import COUNT_COLUMNS, NAME_COLUMNS

        if reference:
            raise OptionError(
                "published numbers are those of their data: leave out "
                "--with-reference or --prevalence"
            )
        others = (*NAME_COLUMNS, *COUNT_COLUMNS)
        asked = [sort] if sort and sort.casefold() not in others else []
        prevalence_rows.check_metrics([*names, *asked])
        at = None if given is None else given.value
        rows = prevalence_rows.rows_at_prevalence(rows, folders, prevalence, at)
        names = names or [*prevalence_rows.COLUMNS]
    if average:
        from safebench.results.averages import average_rows

        rows = average_rows(rows)
    print_leaderboard(
        rows,
        plugins,
        metrics=names,
        sort=sort,
        form=form,
        folders=folders if ci else None,
        reference=reference,
        prevalence=prevalence,
        threshold=given,
        compared=not average and column is None,
        pivot=pivot,
        sliced=column is not None,
        output=output,
        every_note=notes,
    )


def _reviewed(
    rows: list[Row],
    folders: Sequence[Path],
    clashing: Mapping[str, bool],
    plugins: Plugins,
) -> list[Row]:
    """Return the rows with those of reviewed labels.

    Raises OptionError if an option was given that these do not go with.
    """
    from safebench.errors import OptionError
    from safebench.results.reviewed_rows import reviewed_rows
    from safebench.specs import MetricSpec

    for option, is_given in clashing.items():
        if is_given:
            raise OptionError(
                "numbers with reviewed labels are those of the run's decisions on each "
                f"set: leave out {option} or --labels reviewed"
            )
    return reviewed_rows(rows, folders, plugins.unambiguous(MetricSpec))


def _by_slice(
    rows: list[Row],
    column: str | None,
    folders: Sequence[Path],
    clashing: Mapping[str, bool],
) -> list[Row]:
    """Return the rows of the slices by a column; without one all rows.

    Raises OptionError if an option was given that slices do not go with.
    """
    from safebench.errors import OptionError
    from safebench.results.slices import rows_by_slice

    if column is None:
        return rows
    for option, is_given in clashing.items():
        if is_given:
            raise OptionError(
                "numbers of slices are stored as they were in the run: leave out "
                f"{option} or --slice"
            )
    return rows_by_slice(rows, column, folders[0].as_posix())


def _with_calibrator(rows: Sequence[Row], name: str | None) -> list[Row]:
    """Return the rows of one calibrator; raises UnknownNameError for another name."""
    from safebench.errors import unknown_name

    if name is None or name.casefold() == "all":
        return list(rows)
    chosen = None if name.casefold() == "none" else name.casefold()
    kept = [row for row in rows if (row.calibrator or "").casefold() == (chosen or "")]
    if not kept:
        known = {row.calibrator for row in rows if row.calibrator} | {"none", "all"}
        raise unknown_name("calibrator in these runs", name, known)
    return kept


def print_leaderboard(
    rows: Sequence[Row],
    plugins: Plugins,
    *,
    metrics: Sequence[str] = (),
    sort: str | None = None,
    form: str | None = None,
    folders: Sequence[Path] | None = None,
    reference: bool = False,
    prevalence: float | None = None,
    threshold: GivenThreshold | None = None,
    compared: bool = True,
    pivot: bool = False,
    sliced: bool = False,
    output: Path | None = None,
    every_note: bool = False,
) -> None:
    """Print result rows as a table in the format of that name, else in the core's.

    Or write it to the file `output`.

    With the `folders` of the runs, intervals are shown, too, and what does not differ
    from the best if rows are to be `compared`; with `reference`, published numbers;
    with `pivot`, one metric with a column for every dataset; of `sliced` rows, those of
    slices alone; with `every_note` no footnote is counted instead of shown.
    """
    from dataclasses import replace

    from safebench.isolation import isolated
    from safebench.reporters.leaderboard import build_leaderboard
    from safebench.specs import MetricSpec, ReporterSpec

    if form is None:  # whatever a plugin calls by that name; the core's come first
        reporter = next(r for r in plugins.all(ReporterSpec) if r.name == "table")
    else:
        reporter = plugins.get(ReporterSpec, form)
    render = reporter.code()
    # Refused where two plugins have one name: the order in which they were installed
    # must not decide whose number is shown.
    specs = plugins.unambiguous(MetricSpec)
    compared = compared and prevalence is None and threshold is None
    if pivot:
        metrics = metrics or [sort or "auroc"]
        sort = metrics[0]
    table = build_leaderboard(
        rows,
        specs=specs,
        metrics=metrics,
        sort=sort,
        ci=folders is not None,
        # a paired test of stored decisions says nothing of another prevalence, or of
        # another threshold
        ties_with_best=None
        if folders is None or not compared
        else _tie_marker(folders, specs),
        prevalence=prevalence,
        sliced=sliced,
    )
    if pivot:
        from safebench.reporters.pivot import pivot_datasets

        table = pivot_datasets(table)
    if threshold is not None:
        titles = filter(None, (threshold.title, table.title))
        table = replace(table, title=", ".join(titles), threshold=threshold.value)
    # After the lines were ranked: published numbers are no part of that.
    if reference:
        from safebench.reporters.reference import add_published, read_published

        table = add_published(table, read_published())

    def render_isolated(options: RenderOptions) -> str | bytes:
        with isolated(reporter):
            rendered = render(table, options)
            if not isinstance(rendered, str | bytes):
                raise TypeError(f"returned a {type(rendered).__name__}, no text")
        return rendered

    _emit(render_isolated, reporter.name, output, every_note=every_note)


def _emit(
    render: Callable[[RenderOptions], str | bytes],
    form: str,
    output: Path | None,
    *,
    every_note: bool,
) -> None:
    """Print what was rendered, or write it to a file.

    Raises OptionError for bytes on a terminal, which would take them for commands.
    """
    import sys
    from dataclasses import replace

    from safebench.console import echo, echo_bytes, echo_styled, terminal_capabilities
    from safebench.errors import OptionError
    from safebench.files import atomic_path

    options = replace(terminal_capabilities(), every_note=every_note)
    if output is not None:
        options = replace(options, styles=False, colour=False, encoding="utf-8")
    rendered = render(options)
    if output is not None:
        content = f"{rendered}\n" if isinstance(rendered, str) else rendered
        with atomic_path(output) as partial:
            partial.write_bytes(
                content.encode("utf-8") if isinstance(content, str) else content
            )
        echo(f"wrote {output}", err=True)
    elif isinstance(rendered, str):
        echo_styled(rendered, options)
    elif sys.stdout.isatty():
        raise OptionError(f"{form} is no text: add --out FILE")
    else:
        echo_bytes(rendered)


def _tie_marker(
    folders: Sequence[Path], specs: Sequence[MetricSpec]
) -> Callable[[Sequence[Row]], list[bool]]:
    """Return what tells rows that do not differ from the best, by predictions."""
    from functools import partial

    from safebench.results.comparison import ties_with_best

    paired = partial(ties_with_best, folders=folders, specs=specs)

    def of_stored_labels(rows: Sequence[Row]) -> list[bool]:
        """Mark nothing where labels are not those that predictions are stored with."""
        reviewed = any(row.review is not None for row in rows)
        return [False] * len(rows) if reviewed else paired(rows)

    return of_stored_labels
