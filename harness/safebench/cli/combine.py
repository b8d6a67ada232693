"""`combine`: a classifier made of several, from stored predictions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from . import flags
from .execution import print_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.combination.run_folder import CombinationResult
    from safebench.errors import SafebenchError
    from safebench.plugins import Plugins

EPILOG = """\b
Examples:
  safebench combine keyword llamaguard/greedy --rule or
  safebench combine runs/a runs/b keyword llamaguard/marginal_any --rule cascade:0.2,0.8
  safebench combine runs/a small big --rule cascade:auto@budget=0.2 --name two-step
  safebench combine runs/a bert/mean_probs llamaguard/marginal_any+platt --rule stack
"""
AT_LEAST = 2


@click.command("combine", epilog=EPILOG)
@click.argument("names", nargs=-1, required=True, metavar="[RUN]... A B [C]...")
@click.option(
    "--rule",
    required=True,
    metavar="RULE",
    help="or, and, mean, max, stack, cascade:LO,HI or cascade:auto@budget=SHARE.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="What tables call the classifier [default: RULE(A,B)].",
)
@flags.ONLY_DATASETS
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    help="The run folder to write; several combinations may share one "
    "[default: one below ./runs, by NAME].",
)
@flags.METRICS.override(
    help="Columns of the table that is printed [default: the usual ones]."
)
@flags.printed("table", "md", "json")
@click.pass_obj
def command(
    plugins: Plugins,
    names: tuple[str, ...],
    rule: str,
    name: str | None,
    datasets: tuple[str, ...],
    out: str | None,
    metrics: str | None,
    form: str,
) -> None:
    r"""Make one classifier of several, and write its predictions and results.

    A and B are CLASSIFIER/STRATEGY[+CALIBRATOR], or the one of both that tells them
    apart; they are looked for in each RUN, by default in every run in ./runs. No model
    is loaded: everything comes from stored predictions, on the samples that all have.

    \b
    or, and   decisions; the score is the largest (smallest) probability
    max       the largest score, at the threshold that all share
    mean      the mean probability, of other scores the mean rank
    stack     logistic regression, fitted on the calibration part
    cascade   A, but B where LO <= score of A <= HI, and where A failed

    Every command reads the folder as it reads other runs.
    """
    from safebench.combination.parts import split_arguments
    from safebench.combination.rules import parse_rule
    from safebench.combination.run_folder import CombinationRequest, combine_runs
    from safebench.console import echo
    from safebench.errors import OptionError
    from safebench.sanitize import json_text, printable
    from safebench.specs import MetricSpec

    parsed = parse_rule(rule)
    runs, parts = split_arguments(names)
    wanted = AT_LEAST if parsed.name == "cascade" else None
    if len(parts) < AT_LEAST or (wanted and len(parts) != wanted):
        raise OptionError(
            f"{parsed.name} takes {'two' if wanted else 'two or more'} parts, "
            f"CLASSIFIER/STRATEGY each; named: {', '.join(parts) or 'none'}"
            + (f" (run folders: {', '.join(runs)})" if runs else "")
        )
    errors: list[SafebenchError] = []
    request = CombinationRequest(parts, parsed, runs, name, datasets)
    specs = plugins.unambiguous(MetricSpec)
    folder, results = combine_runs(request, specs, out, errors.append)
    if form == "json":
        records = [_record(result) for result in results]
        echo(json_text({"run": folder.as_posix(), "combinations": records}, indent=2))
    else:
        from .leaderboard import print_leaderboard

        rows = [row for r in results for row in (*r.of_parts, *r.rows)]
        chosen = flags.split_names(metrics)
        print_leaderboard(rows, plugins, metrics=chosen, form=f"safebench:{form}")
        for line in _remarks(results):
            echo(printable(f"- {line}"))
        echo(printable(f"wrote {folder}"), err=True)
    print_errors(errors, debug=False)
    if errors:
        sys.exit(1)


def _remarks(results: Sequence[CombinationResult]) -> list[str]:
    """Return what a reader must know beside the numbers, by dataset."""
    lines = []
    for result in results:
        cost = result.cost
        known = [
            f"{value / cost.n:.3g} {what} a sample"
            for what, value in (
                ("s", cost.seconds),
                ("forward passes", cost.forward_passes),
                ("tokens", cost.tokens),
            )
            if value is not None and cost.n
        ]
        parts = [
            *result.notes,
            *([f"it would cost {', '.join(known)}"] if known else []),
            *_latency(result),
        ]
        lines.append(f"{result.dataset}: {'; '.join(parts) or 'no remarks'}")
    return lines


def _latency(result: CombinationResult) -> list[str]:
    """Return what is known of single samples, one after the other."""
    from safebench.results.rows import LATENCY_METRICS

    known = [
        f"{row.metric.removeprefix('latency_')} {row.value:.3g} s"
        for row in result.rows
        if row.metric in LATENCY_METRICS and row.value is not None
    ]
    return [f"latency {', '.join(known)}"] if known else []


def _record(result: CombinationResult) -> dict[str, object]:
    from dataclasses import asdict

    record = asdict(result)
    rows = record.pop("rows")
    del record["of_parts"]
    kept = ("metric", "value", "ci_low", "ci_high", "bound_low", "bound_high", "note")
    record["metrics"] = [{name: row[name] for name in kept} for row in rows]
    return record
