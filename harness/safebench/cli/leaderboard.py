"""`leaderboard`: the results of runs as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import flags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from safebench.console import RenderOptions
    from safebench.plugins import Plugins
    from safebench.results import Row
    from safebench.specs import MetricSpec

EPILOG = """\b
Examples:
  safebench leaderboard
  safebench leaderboard runs/keyword-starter --metrics auroc,fpr --sort fpr
  safebench leaderboard runs/keyword-starter --ci --metrics auroc,f1
  safebench leaderboard runs/a runs/b --format md
"""


@click.command("leaderboard", epilog=EPILOG)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@flags.METRICS.override(
    help="Columns, in this order; see `safebench list metrics` [default: the usual "
    "ones that are there]."
)
@click.option(
    "--sort",
    metavar="NAME",
    help="Metric that orders the lines, best first [default: auroc].",
)
@click.option(
    "--ci",
    is_flag=True,
    help="Show 95 % confidence intervals, and mark what does not differ "
    "significantly from the best.",
)
@click.option(
    "--with-reference",
    "reference",
    is_flag=True,
    help="Add published numbers on the same datasets, dimmed and never ranked.",
)
@click.option(
    "--format",
    "form",
    metavar="FORMAT",
    default="table",
    help="table, md, csv, latex, json, or a plugin's [default: table].",
)
@click.pass_obj
def command(
    plugins: Plugins,
    runs: tuple[str, ...],
    metrics: str | None,
    sort: str | None,
    ci: bool,
    reference: bool,
    form: str,
) -> None:
    """Compare runs: one line per classifier, strategy and dataset.

    RUN is a run folder or a results.jsonl; without one, every run in ./runs.
    """
    from safebench.results import read_runs
    from safebench.results.runs import results_files

    folders = [file.parent for file in results_files(runs)] if ci else None
    print_leaderboard(
        read_runs(runs),
        plugins,
        metrics=flags.split_names(metrics),
        sort=sort,
        form=form,
        folders=folders,
        reference=reference,
    )


def print_leaderboard(
    rows: Sequence[Row],
    plugins: Plugins,
    *,
    metrics: Sequence[str] = (),
    sort: str | None = None,
    form: str = "table",
    folders: Sequence[Path] | None = None,
    reference: bool = False,
) -> None:
    """Print result rows as a table in the format of that name.

    With the `folders` of the runs, intervals are shown, too; with `reference`,
    published numbers.
    """
    from safebench.console import echo_rendered
    from safebench.isolation import isolated
    from safebench.reporters.leaderboard import build_leaderboard
    from safebench.specs import MetricSpec, ReporterSpec

    reporter = plugins.get(ReporterSpec, form)
    render = reporter.code()
    # Refused where two plugins have one name: the order in which they were installed
    # must not decide whose number is shown.
    specs = plugins.unambiguous(MetricSpec)
    table = build_leaderboard(
        rows,
        specs=specs,
        metrics=metrics,
        sort=sort,
        ci=folders is not None,
        ties_with_best=None if folders is None else _tie_marker(folders, specs),
    )
    # After the lines were ranked: published numbers are no part of that.
    if reference:
        from safebench.reporters.reference import add_published, read_published

        table = add_published(table, read_published())

    def render_isolated(options: RenderOptions) -> str:
        with isolated(reporter):
            text = render(table, options)
            if not isinstance(text, str):
                raise TypeError(f"returned a {type(text).__name__}, no text")
        return text

    echo_rendered(render_isolated)


def _tie_marker(
    folders: Sequence[Path], specs: Sequence[MetricSpec]
) -> Callable[[Sequence[Row]], list[bool]]:
    """Return what tells rows that do not differ from the best, by predictions."""
    from functools import partial

    from safebench.results.comparison import ties_with_best

    return partial(ties_with_best, folders=folders, specs=specs)
