"""`calibrate`: probabilities from the scores of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import flags
from .execution import print_errors

if TYPE_CHECKING:
    from safebench.calibration.calibration_request import CalibrationRequest
    from safebench.errors import SafebenchError
    from safebench.plugins import Plugins

EPILOG = """\b
Examples:
  safebench calibrate runs/llamaguard-starter --method platt --method isotonic
  safebench calibrate my-run -m platt --of llamaguard/marginal_any -d xstest
  safebench calibrate my-run -m platt --fit-on toxic_chat
  safebench compare marginal_any marginal_any+platt --run my-run --metrics brier,nll
"""


@click.command("calibrate", epilog=EPILOG)
@click.argument("run", metavar="RUN")
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    required=True,
    metavar="[LABEL=]NAME[,KEY=VALUE]...",
    help="A calibrator; see `safebench list calibrators`. Repeatable.",
)
@click.option(
    "--of",
    multiple=True,
    metavar="NAME",
    help="Only CLASSIFIER/STRATEGY, or one of both. Repeatable [default: all].",
)
@flags.ONLY_DATASETS
@click.option(
    "--fit-on",
    metavar="NAME",
    help="Fit on this dataset's calibration part, and apply to the others "
    "[default: each to its own].",
)
@click.option(
    "--per-category",
    is_flag=True,
    help="Calibrate the score of each category by itself, where it has labels enough.",
)
@flags.printed("table", "md", "json")
@click.pass_obj
def command(
    plugins: Plugins,
    run: str,
    methods: tuple[str, ...],
    of: tuple[str, ...],
    datasets: tuple[str, ...],
    fit_on: str | None,
    per_category: bool,
    form: str,
) -> None:
    """Make probabilities of the scores of a run, and say what that is worth.

    RUN is a run folder, or its name below ./runs. Calibrators are fitted on the
    calibration part alone; Brier score and NLL of the test part are compared with
    those of the raw scores. Calibrated predictions and their rows are stored beside the
    raw ones: every command then knows them as STRATEGY+CALIBRATOR. No model is loaded.
    """
    from safebench.calibration.run_folder import Selection, calibrate_run
    from safebench.console import echo_rendered
    from safebench.files import lock_folder
    from safebench.reporters.calibration import render_calibrations
    from safebench.results.run_files import PREDICTIONS_FOLDER
    from safebench.results.runs import RUNS_FOLDER
    from safebench.results.selection import predictions_folder
    from safebench.specs import MetricSpec

    requests = _requests(methods, plugins, per_category=per_category)
    metrics = plugins.unambiguous(MetricSpec)
    folder = predictions_folder(Path(run), RUNS_FOLDER)
    errors: list[SafebenchError] = []
    with lock_folder(folder, (PREDICTIONS_FOLDER,)):
        results = calibrate_run(
            folder, requests, metrics, Selection(of, datasets, fit_on), errors.append
        )
    echo_rendered(lambda options: render_calibrations(results, form, options))
    print_errors(errors, debug=False)
    if errors or all(result.refused for result in results):
        sys.exit(1)


def _requests(
    texts: tuple[str, ...], plugins: Plugins, *, per_category: bool
) -> list[CalibrationRequest]:
    """Return the calibrators that were asked for, checked."""
    from safebench.calibration.calibration_request import (
        PER_CATEGORY,
        request_calibrators,
    )
    from safebench.pipeline.config import parse_component_ref

    refs = [parse_component_ref(text) for text in texts]
    if per_category:
        refs = [ref.with_options({PER_CATEGORY: True}) for ref in refs]
    return request_calibrators(
        [(ref.name, ref.label, ref.options) for ref in refs], plugins
    )
