"""`compare`: whether one row of results is significantly better than another."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from . import flags
from .execution import print_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.plugins import Plugins
    from safebench.results.prediction_reading import PredictionFile
    from safebench.results.reviewed_labels import ReviewedLabels
    from safebench.specs import MetricSpec

EPILOG = """\b
Examples:
  safebench compare greedy marginal_any --run runs/llamaguard-starter
  safebench compare llamaguard/marginal_any keyword/score --metrics auroc,fpr
  safebench compare runs/before runs/after --format md
  safebench compare greedy marginal_any --margin 0.02 --equivalence
  safebench compare greedy marginal_any --run runs/guard --labels reviewed
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
    help="What to compare [default: auroc,auprc,f1,accuracy,recall,fpr, and "
    "error_auroc,aurc where both have an uncertainty]."
)
@click.option(
    "--draws",
    type=click.IntRange(min=100),
    metavar="N",
    show_default="2000, fewer where there are many groups",
    help="How often groups change sides at random: p is above 1/N.",
)
@click.option(
    "--margin",
    type=flags.POSITIVE,
    metavar="X",
    help="A smaller difference is practically equal, and has no winner [default: half "
    "of the last digit shown, or the mean width of the bounds if larger].",
)
@click.option(
    "--equivalence",
    is_flag=True,
    help="Test, too, whether differences are below the margin (TOST).",
)
@flags.LABELS.override(
    help="reviewed: judge both by the labels that reviewers marked in `safebench "
    "serve`, in any of the runs [default: stored]."
)
@flags.SEED.override(default=0, help="Seed of the draws [default: 0].")
@flags.printed("table", "md", "json")
@click.pass_obj
def command(  # noqa: PLR0917 - click names them all
    plugins: Plugins,
    a: str,
    b: str,
    runs: tuple[str, ...],
    metrics: str | None,
    draws: int | None,
    margin: float | None,
    equivalence: bool,
    labels: str,
    seed: int,
    form: str,
) -> None:
    """Say whether B is better than A, from stored predictions.

    A and B are CLASSIFIER/STRATEGY, or the one of the two in which they differ; or run
    folders, also as RUN/CLASSIFIER/STRATEGY. Both are measured on the samples that
    both have, and tested by what would be if groups of samples changed sides.
    """
    from safebench.console import echo_rendered
    from safebench.reporters.comparison import render_comparisons
    from safebench.results.comparison import (
        UNCERTAINTY_METRICS,
        compare,
        errors_of_metrics,
        require_one_compared,
    )
    from safebench.results.selection import select_pairs

    specs = comparable_metrics(metrics, plugins)  # a wrong name costs no reading
    pairs = select_pairs(a, b, runs)
    comparisons = compare(
        pairs,
        specs,
        of_uncertainty=()
        if metrics
        else comparable_metrics(",".join(UNCERTAINTY_METRICS), plugins),
        n_resamples=draws,
        seed=seed,
        margin=margin,
        equivalence=equivalence,
        labels=_reviewed(pairs, specs) if labels == "reviewed" else None,
    )
    echo_rendered(lambda options: render_comparisons(comparisons, form, options))
    # After the table: a metric of one plugin that fails takes nothing from the others.
    failures = errors_of_metrics(comparisons)
    print_errors(failures, debug=False)
    require_one_compared(comparisons)
    if failures:
        sys.exit(1)


def _reviewed(
    pairs: Sequence[tuple[PredictionFile, PredictionFile]], specs: Sequence[MetricSpec]
) -> ReviewedLabels:
    """Return the marks of the runs of all pairs.

    Raises OptionError where no set that is compared has one, and for a metric of which
    they say nothing.
    """
    from safebench.errors import OptionError
    from safebench.results.prediction_reading import read_combination_key
    from safebench.results.reviewed_labels import ReviewedLabels, why_not_of_labels

    for spec in specs:
        if why := why_not_of_labels(spec):
            raise OptionError(f"{spec.name} with reviewed labels: {why}")
    files = [file for pair in pairs for file in pair]
    labels = ReviewedLabels([file.run for file in files])
    keys = [read_combination_key(file.path) for file in files]
    names = {":".join(filter(None, key[2:5])) for key in keys}
    labels.require_one_of(of for of in labels.of_set if of[0] in names)
    return labels


def comparable_metrics(text: str | None, plugins: Plugins) -> list[MetricSpec]:
    """Return the metrics asked for; raises UnknownNameError for one without a test."""
    from safebench.errors import unknown_name
    from safebench.metrics.intervals import can_compare
    from safebench.results.comparison import DEFAULT_METRICS
    from safebench.specs import MetricSpec

    installed = plugins.unambiguous(MetricSpec)
    specs = {spec.name: spec for spec in installed if can_compare(spec)}
    # Each once: a test that is listed twice would be paid for twice by Holm.
    names = dict.fromkeys(name.casefold() for name in flags.split_names(text))
    for name in names:
        if name not in specs:
            raise unknown_name("metric to compare by", name, specs)
    return [specs[name] for name in names or DEFAULT_METRICS]
