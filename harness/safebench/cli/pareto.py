"""`pareto`: quality against cost of all cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import flags

if TYPE_CHECKING:
    from safebench.plugins import Plugins

EPILOG = """\b
Examples:
  safebench pareto
  safebench pareto runs/a runs/b --metric recall --cost tokens
  safebench pareto runs/a runs/two-step --cost prompts_per_second --plot front.svg
  safebench pareto --metric f1 --cost latency_p95
"""
COST_NAMES = (
    *("seconds", "forward_passes", "tokens", "prompts_per_second"),
    *("latency_p50", "latency_p95"),
)


@click.command("pareto", epilog=EPILOG)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--metric",
    default="auroc",
    show_default=True,
    metavar="NAME",
    help="The quality; see `safebench list metrics`.",
)
@click.option(
    "--cost",
    type=flags.Choice(COST_NAMES),
    default="seconds",
    show_default=True,
    help="The cost of a sample; latencies are there after `safebench run --latency N`.",
)
@flags.ONLY_DATASETS
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a plot, .png or .svg (needs safebench[plots]).",
)
@flags.printed("table", "md", "json")
@click.pass_obj
def command(
    plugins: Plugins,
    runs: tuple[str, ...],
    metric: str,
    cost: str,
    datasets: tuple[str, ...],
    plot: Path | None,
    form: str,
) -> None:
    """Show which cells no other one beats in quality and cost.

    RUN is a run folder or a results.jsonl; without one, every run in ./runs. A cell is
    on the front if no other is as good and as cheap, and better in one of both. Whether
    the others are worse in truth, or by chance, a paired test of the predictions says.
    """
    from safebench.console import echo, echo_rendered
    from safebench.errors import unknown_name
    from safebench.reporters.pareto import render_pareto
    from safebench.results import read_runs
    from safebench.results.pareto import dataset_of, is_about, pareto
    from safebench.results.runs import results_files
    from safebench.specs import MetricSpec

    specs = {spec.name: spec for spec in plugins.unambiguous(MetricSpec)}
    if metric.casefold() not in specs:
        raise unknown_name("metric", metric, specs)
    if plot is not None:
        from safebench.plots import require_matplotlib

        require_matplotlib()
        from safebench.plots.pareto import check_plot_path

        check_plot_path(plot)
    rows = read_runs(runs)
    for name in datasets:
        if not any(is_about(row, name) for row in rows):
            raise unknown_name("dataset", name, {dataset_of(row) for row in rows})
    if datasets:
        rows = [row for row in rows if any(is_about(row, name) for name in datasets)]
    folders = [file.parent for file in results_files(runs)]
    result = pareto(rows, folders, specs[metric.casefold()], cost)
    echo_rendered(lambda options: render_pareto(result, form, options))
    if plot is not None:
        from safebench.plots.pareto import write_pareto

        write_pareto(result, plot)
        echo(f"wrote {plot}", err=True)
