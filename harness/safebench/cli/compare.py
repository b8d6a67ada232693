"""`compare`: is one row of results better than another, or is that not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import flags

if TYPE_CHECKING:
    from safebench.plugins import Plugins

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
@flags.METRICS.but(
    help="What to compare [default: auroc,auprc,f1,accuracy,recall,fpr]."
)
@click.option(
    "--draws",
    type=click.IntRange(min=100),
    metavar="N",
    show_default="2000, fewer where there are many groups",
    help="Bootstrap draws.",
)
@flags.SEED.but(default=0, help="Seed of the draws [default: 0].")
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

    A and B are CLASSIFIER/STRATEGY, or the one of both that tells them apart; or run
    folders, also as RUN/CLASSIFIER/STRATEGY. Both are measured on the samples that
    both have; groups of samples that belong together are drawn as wholes.
    """
    from safebench.reporters.comparison import render
    from safebench.reporters.screen import screen
    from safebench.reporters.text import encodable
    from safebench.results.comparison import compare
    from safebench.results.contenders import contenders
    from safebench.specs import MetricSpec

    higher = {each.name: each.higher_is_better for each in plugins.all(MetricSpec)}
    names = _metrics(metrics)
    found = compare(contenders(a, b, runs), names, higher, draws=draws, seed=seed)
    view = screen()
    text = encodable(render(found, form, view), view.encoding)
    click.echo(text, color=view.styles or None)


def _metrics(text: str | None) -> list[str]:
    """Return the metrics asked for; raises UnknownNameError for one without a test."""
    from safebench.errors import unknown
    from safebench.results.comparison import DEFAULT
    from safebench.statistics import MEASURES

    known = {name: each for name, each in MEASURES.items() if each.kind != "risk"}
    names = [name.strip().casefold() for name in (text or "").split(",")]
    asked = [name for name in names if name]
    for name in asked:
        if name not in known:
            raise unknown("metric to compare by", name, known)
    return list(dict.fromkeys(asked)) or list(DEFAULT)
