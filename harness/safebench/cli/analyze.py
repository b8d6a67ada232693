"""`analyze`: uncertainty, errors, calibration and agreement in a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from safebench.console import echo

from . import flags

if TYPE_CHECKING:
    from safebench.analysis import RunAnalysis
    from safebench.analysis.request import AnalysisRequest
    from safebench.plugins import Plugins
    from safebench.specs import MetricSpec

EPILOG = """\b
Examples:
  safebench analyze runs/llamaguard-starter
  safebench analyze runs/my-run -s marginal_any -d xstest --top 20 --text
  safebench analyze runs/my-run --gaps --slice language --slice subcategory
  safebench analyze runs/my-run --gaps --save
  safebench analyze runs/my-run -s mean_probs --plots plots/ --html report.html
"""
DEFAULT_METRICS = ("recall", "fpr", "auroc")


@click.command("analyze", epilog=EPILOG)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@flags.only
@click.option(
    "--part",
    type=click.Choice(["test", "calibration", "all"]),
    default="test",
    show_default=True,
    help="Which samples.",
)
@flags.TOP.override(help="How many hardest samples to list.")
@click.option(
    "--text",
    is_flag=True,
    help="Show their prompts, too; what hides or steers in them is spelt out.",
)
@flags.SLICES.override(
    help="language, turns, adversarial, subcategory, length, category, dataset or a "
    "column of the dataset; repeatable [default: all that there are]."
)
@flags.GAPS.override(
    help="How far the best and the worst slice are apart in recall, FPR and AUROC, "
    "and whether by chance."
)
@click.option(
    "--save",
    is_flag=True,
    help="Store the gaps in the run's results: `safebench leaderboard RUN --slice "
    "COLUMN` shows them.",
)
@flags.METRICS.override(
    default=",".join(DEFAULT_METRICS),
    show_default=True,
    help="Metrics of the slices, beside accuracy.",
)
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write PNG plots (needs safebench[plots]).",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write one self-contained page, as `safebench report RUN` does.",
)
@flags.printed("table", "md", "json")
@flags.LABELS.override(
    help="reviewed: by the labels that reviewers marked in `safebench serve` [default: "
    "stored]."
)
@flags.DATA_ROOT.override(
    help="Local copies of hub sets: DIR/ORG/NAME [default: the run's]."
)
@click.pass_obj
def command(
    plugins: Plugins,
    /,
    *,
    run: Path,
    metrics: str,
    plots: Path | None,
    html: Path | None,
    form: str,
    classifiers: tuple[str, ...],
    strategies: tuple[str, ...],
    datasets: tuple[str, ...],
    part: str,
    top: int,
    text: bool,
    columns: tuple[str, ...],
    gaps: bool,
    save: bool,
    labels: str,
    data_root: str | None,
) -> None:
    """Show where a run is unsure and wrong, from its stored predictions.

    RUN is a run folder, or its name below ./runs. No model is loaded. Works for every
    strategy with an uncertainty, or with a score and a threshold to be close to.
    """
    from safebench.analysis.request import AnalysisRequest
    from safebench.errors import OptionError
    from safebench.specs import MetricSpec

    if save and not gaps:
        raise OptionError("--save stores the gaps between slices: name --gaps, too")
    if save and part != "test":
        raise OptionError(
            f"--save stores what is said of the test part: leave out --part {part}"
        )
    if labels == "reviewed" and (save or html):
        raise OptionError(
            f"{'--save' if save else '--html'} is about the run's own labels: leave "
            "out it or --labels reviewed"
        )
    request = AnalysisRequest(
        classifiers=classifiers,
        strategies=strategies,
        datasets=datasets,
        part=part,
        slice_columns=columns,
        gaps=gaps,
        n_examples=top,
        include_text=text,
        data_root=data_root,
        # both show everything, whatever would fit on a screen
        always_detailed=form == "json" or html is not None,
        reviewed=labels == "reviewed",
    )
    specs = [plugins.get(MetricSpec, name) for name in flags.split_names(metrics)]
    execute(plugins, run, request, specs, form=form, plots=plots, html=html, save=save)


def execute(
    plugins: Plugins,
    run: Path,
    request: AnalysisRequest,
    metrics: list[MetricSpec],
    *,
    form: str,
    plots: Path | None,
    html: Path | None,
    save: bool = False,
) -> None:
    """Analyze, print the tables, and store gaps, plots and page if they are wanted."""
    from safebench.analysis import analyze_run
    from safebench.analysis.renderers import render_analysis
    from safebench.analysis.request import find_run
    from safebench.console import echo_rendered

    if plots:
        from safebench.plots import require_matplotlib

        require_matplotlib()  # before the work, not after it
    folder = find_run(run)
    analysis = analyze_run(folder, request, plugins, metrics)
    echo_rendered(lambda options: render_analysis(analysis, form, options))
    # On standard error: with --format json the output is read by a program.
    for path in _write_plots(analysis, plots):
        echo(f"wrote {path}", err=True)
    if html is not None:
        _write_page(folder, analysis, request, plugins, html)
        echo(f"wrote {html}", err=True)
    if save:
        from safebench.analysis.slice_rows import save_gaps
        from safebench.sanitize import printable

        saved = save_gaps(folder, analysis, request.slice_columns)
        for note in saved.notes:
            echo(printable(f"not stored: {note}"), err=True)
        echo(printable(f"stored {saved.n_rows} rows of slices in {folder}"), err=True)


def _write_plots(analysis: RunAnalysis, plots: Path | None) -> list[Path]:
    """Write plots where they are wanted, and return their paths."""
    if plots is None:
        return []
    from safebench.plots.figures import omitted_figures_note, write_plots

    written = write_plots(analysis, plots)
    if note := omitted_figures_note(analysis):
        echo(note, err=True)
    return written


def _write_page(
    folder: Path,
    analysis: RunAnalysis,
    request: AnalysisRequest,
    plugins: Plugins,
    path: Path,
) -> None:
    """Write the page that `safebench report` writes of a run."""
    from safebench.report import ReportRequest, content_of_analysis, write_page

    report = ReportRequest(runs=(str(folder),), analysis=request)
    write_page(content_of_analysis(folder, analysis, report, plugins), path)
