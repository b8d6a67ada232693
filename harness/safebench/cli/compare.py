"""`compare`: whether one row of results is significantly better than another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import flags

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.specs import MetricSpec

EPILOG = """\b
Examples:
  safebench compare greedy marginal_any --run runs/llamaguard-starter
  safebench compare llamaguard/marginal_any keyword/score --metrics auroc,fpr
  safebench compare runs/before runs/after --format md
"""


@click.command("compare", epilog=EPILOG)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="RUN",
    help="Where A and B are looked for. Repeatable [default: every run in ./runs].",
)
@flags.METRICS.override(
    help="What to compare [default: auroc,auprc,f1,accuracy,recall,fpr]."
)
@click.option(
    "--draws",
    type=click.IntRange(min=100),
    metavar="N",
    show_default="2000, fewer where there are many groups",
    help="Bootstrap draws.",
)
@flags.SEED.override(default=0, help="Seed of the draws [default: 0].")
@click.option(
    "--format",
    "form",
    type=flags.Choice(["table", "md", "json"]),
    default="table",
    help="What to print [default: table].",
)
@click.pass_obj
def command(
    plugins: Plugins,
    a: str,
    b: str,
    runs: tuple[str, ...],
    metrics: str | None,
    draws: int | None,
    seed: int,
    form: str,
) -> None:
    """Say whether B is better than A, from stored predictions.

    A and B are CLASSIFIER/STRATEGY, or the one of the two in which they differ; or run
    folders, also as RUN/CLASSIFIER/STRATEGY. Both are measured on the samples that
    both have, resampled by group.
    """
    from safebench.console import echo_rendered
    from safebench.reporters.comparison import render_comparisons
    from safebench.results.comparison import compare
    from safebench.results.selection import select_pairs

    specs = _comparable_metrics(metrics, plugins)  # a wrong name costs no reading
    comparisons = compare(
        select_pairs(a, b, runs),
        specs,
        n_resamples=draws,
        seed=seed,
    )
    echo_rendered(lambda options: render_comparisons(comparisons, form, options))


def _comparable_metrics(text: str | None, plugins: Plugins) -> list[MetricSpec]:
    """Return the metrics asked for; raises UnknownNameError for one without a test."""
    from safebench.errors import unknown_name
    from safebench.metrics.intervals import can_compare
    from safebench.results.comparison import DEFAULT_METRICS
    from safebench.specs import MetricSpec

    installed = plugins.unambiguous(MetricSpec)
    specs = {spec.name: spec for spec in installed if can_compare(spec)}
    names = dict.fromkeys(name.casefold() for name in flags.split_names(text))
    for name in names:
        if name not in specs:
            raise unknown_name("metric to compare by", name, specs)
    return [specs[name] for name in names or DEFAULT_METRICS]
