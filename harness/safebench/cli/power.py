"""`power`: how many groups of prompts it takes to show a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import flags

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.results.power import PowerEstimate, PowerRequest

EPILOG = """\b
Examples:
  safebench power --metric auroc --difference 0.02 --run runs/llamaguard-starter
  safebench power greedy marginal_any --metric recall --difference 0.05
"""


MAX_SHOWN = 5


@click.command("power", epilog=EPILOG)
@click.argument("a", metavar="[A", required=False)
@click.argument("b", metavar="B]", required=False)
@click.option(
    "--metric", required=True, metavar="NAME", help="What is to differ, such as auroc."
)
@click.option(
    "--difference",
    required=True,
    type=flags.POSITIVE,
    metavar="X",
    help="The difference that is to be shown, such as 0.02.",
)
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="RUN",
    help="Whose predictions say how much differences vary. Repeatable.",
)
@click.option(
    "--power",
    type=flags.SHARE,
    metavar="SHARE",
    default=0.8,
    show_default=True,
    help="The probability of showing it.",
)
@flags.ALPHA.override(
    help="What p is to be below; for K lines of `compare` divide it by K (Holm)."
)
@flags.SEED.override(default=0, help="Seed of the swaps [default: 0].")
@flags.printed("table", "json")
@click.pass_obj
def command(  # noqa: PLR0917 - click names them all
    plugins: Plugins,
    a: str | None,
    b: str | None,
    metric: str,
    difference: float,
    runs: tuple[str, ...],
    power: float,
    alpha: float,
    seed: int,
    form: str,
) -> None:
    """Say how many groups of prompts `compare` needs to show a difference.

    Told from stored predictions: of A and B, which are named as for `compare`, or of
    the best of RUN and each other on its dataset. New prompts are taken to be like
    those of the run; prompts that belong together are one group.
    """
    from dataclasses import asdict

    from safebench.console import echo
    from safebench.results.power import PowerRequest, check_request, estimate, pairs_of
    from safebench.sanitize import json_text

    from .compare import comparable_metrics

    (spec,) = comparable_metrics(metric, plugins)
    request = PowerRequest(spec, difference, power, alpha)
    check_request(request)  # a wrong number costs no reading
    estimates = estimate(pairs_of(a, b, runs, spec), request, seed=seed)
    if form == "json":
        question = {"metric": spec.name, "difference": difference}
        question |= {"power": power, "alpha": alpha}
        echo(json_text([question | asdict(pair) for pair in estimates], indent=2))
        return
    for line in _lines(estimates, request):
        echo(line)


def _lines(estimates: list[PowerEstimate], request: PowerRequest) -> list[str]:
    """Return a heading, and what each pair says."""
    from safebench.sanitize import printable

    spec, difference, power, alpha = request
    goal = f"a difference of {difference:g} in {spec.name} with p < {alpha:g}"
    lines = [f"To show {goal} in {100 * power:g} of 100 sets of prompts, it takes"]
    known = [pair for pair in estimates if pair.groups_needed is not None]
    for pair in known[:MAX_SHOWN]:
        smallest = "what it shows is not known"
        if pair.smallest_difference is not None:
            smallest = f"it shows {pair.smallest_difference:.2g}"
        there = f"the run has {pair.groups:,} groups, {pair.n:,} prompts"
        lines += [
            printable(
                f"- {pair.groups_needed:,} groups ({pair.dataset}: {pair.a} and "
                f"{pair.b})"
            ),
            f"  {pair.samples_needed:,} prompts; {there}, {smallest}",
            f"  from: {pair.how}",
        ]
        lines += [f"  note: {pair.note}"] * bool(pair.note)
    if len(known) > MAX_SHOWN:
        others = len(known) - MAX_SHOWN
        lines.append(f"- fewer for {others} other pairs (--format json has them)")
    reasons: dict[str, list[str]] = {}
    for pair in estimates:
        if pair.groups_needed is None:
            reasons.setdefault(pair.note, []).append(pair.b)
    for reason, names in reasons.items():
        lines.append(printable(f"- not known for {', '.join(names)}: {reason}"))
    return lines
