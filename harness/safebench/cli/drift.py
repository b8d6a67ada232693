"""`drift`: whether the scores of traffic are still like those of a run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from . import flags

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.decision.score_stream import ScoreStream
    from safebench.plugins import Plugins

EPILOG = """\b
Examples:
  safebench score -c keyword --json - < prompts.jsonl > scores.jsonl
  safebench drift runs/guard scores.jsonl -d toxic_chat
  safebench drift runs/guard scores.jsonl --of llamaguard/marginal_any -d xstest
  safebench drift last-month.jsonl this-month.jsonl --plot drift.png
  safebench score log.jsonl.gz -c keyword -o scores && safebench drift runs/guard scores
"""


@click.command("drift", epilog=EPILOG)
@click.argument("reference", metavar="RUN|FILE")
@click.argument("scores", metavar="SCORES|DIR|-")
@flags.OF.override(
    help="Whose scores of the run are the reference, as tables name them, with "
    "+CALIBRATOR [default: those that SCORES name]."
)
@flags.SETS_OF_RUN.override(
    help="Which set of the run is the reference [default: the only one]."
)
@click.option(
    "--part",
    type=flags.Choice(["test", "calibration", "all"]),
    help="Which samples of the set [default: all, test where a calibrator was fitted].",
)
@click.option(
    "--score-field",
    metavar="NAME",
    default="score",
    show_default=True,
    help="The field of the score; A.B is B inside A.",
)
@flags.ALPHA.override(
    help="How often the alarm may ring without drift, over the whole stream."
)
@click.option(
    "--bins",
    type=click.IntRange(2, 1000),
    metavar="N",
    default=10,
    show_default=True,
    help="Bins of the PSI, by quantiles of the reference.",
)
@flags.SEED.override(
    default=0, help="Seed of how ties are broken and groups are drawn [default: 0]."
)
@flags.printed("text", "md", "json")
@click.option(
    "--plot", metavar="FILE", help="Draw the evidence and both distributions, too."
)
@click.pass_obj
def command(
    plugins: Plugins,  # noqa: ARG001 - click hands it over
    /,
    reference: str,
    scores: str,
    **given: Any,
) -> None:
    """Say whether new scores are still like those of a run; exit with 1 if not.

    SCORES are lines of JSON in the order they came, as `score --json` and `serve`
    answer them, any with a number in --score-field, or the folder that `score FILE -o`
    wrote. The alarm may be looked at after every line: without drift it rings in at
    most 5 of 100 streams (--alpha), however long they are. KS and PSI are of all lines
    at once. A line without a score, or whose judgement failed, is counted, and more of
    them than in the reference are drift, too.
    """
    from safebench.console import echo_rendered
    from safebench.decision.drift import measure_drift
    from safebench.reporters.drift import render_drift

    plot = _check_plot(given["plot"])
    old, new = _read(reference, scores, given)
    report = measure_drift(
        old, new, alpha=given["alpha"], bins=given["bins"], seed=given["seed"]
    )
    echo_rendered(lambda options: render_drift(report, given["form"], options))
    if plot is not None:
        from safebench.plots.drift import write_drift_plot

        write_drift_plot(report, plot)
    if report.drifted:
        sys.exit(1)


def _read(
    reference: str, scores: str, given: dict[str, Any]
) -> tuple[ScoreStream, ScoreStream]:
    """Return reference and stream; raises a SafebenchError if they do not fit."""
    from pathlib import Path

    from safebench.decision.score_stream import (
        ScoreSource,
        read_reference,
        read_stream,
        to_stream,
    )
    from safebench.errors import OptionError

    field, name = given["score_field"], "stdin" if scores == "-" else scores
    lines = read_stream(scores, field)
    hint = next((of for of in lines.first_lines() if of.method), ScoreSource())
    if Path(reference).is_file():
        if given["of"] or given["datasets"] or given["part"]:
            raise OptionError(
                "--of, --dataset and --part choose from a run: leave them out"
            )
        known = read_stream(reference, field)
        wanted = next((of for of in known.first_lines() if of.method), hint)
        old = to_stream(known, reference, wanted)
    else:
        old = read_reference(
            reference,
            given["of"],
            given["datasets"],
            given["part"] or "",
            hint,
            given["seed"],
        )
    return old, to_stream(lines, name, old.source)


def _check_plot(name: str | None) -> Path | None:
    """Return where the figure will be written; a wrong name costs no reading."""
    from pathlib import Path

    from safebench.errors import OptionError
    from safebench.plots import require_matplotlib

    if name is None:
        return None
    require_matplotlib()
    path = Path(name)
    if path.is_dir() or path.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise OptionError(f"--plot {name}: name a .png, .svg or .pdf file")
    return path
