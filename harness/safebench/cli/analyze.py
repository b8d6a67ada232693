"""`analyze`: where a finished run is unsure, wrong, and of two minds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from safebench.analysis import Analysis
    from safebench.analysis.wanted import Wanted
    from safebench.plugins import Plugins
    from safebench.specs import MetricSpec

EPILOG = """\b
Examples:
  safebench analyze runs/llamaguard-starter
  safebench analyze runs/my-run -s marginal_any -d xstest --top 20 --text
  safebench analyze runs/my-run -s mean_probs --plots plots/ --html report.html
"""
METRICS = ("recall", "fpr", "auroc")


@click.command("analyze", epilog=EPILOG)
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "-c",
    "--classifier",
    "classifiers",
    multiple=True,
    metavar="NAME",
    help="Only this classifier, by its label; repeatable.",
)
@click.option(
    "-s",
    "--strategy",
    "strategies",
    multiple=True,
    metavar="NAME",
    help="Only this strategy, by its label; repeatable.",
)
@click.option(
    "-d",
    "--dataset",
    "datasets",
    multiple=True,
    metavar="NAME",
    help="Only this dataset, NAME or NAME:CONFIG:SPLIT; repeatable.",
)
@click.option(
    "--part",
    type=click.Choice(["test", "calibration", "all"]),
    default="test",
    show_default=True,
    help="Which samples.",
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many hardest samples to list.",
)
@click.option(
    "--text",
    is_flag=True,
    help="Show their prompts, too; what hides or steers in them is spelt out.",
)
@click.option(
    "--slice",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="adversarial, subcategory, length, category, dataset or a column of the "
    "dataset; repeatable [default: all that there are].",
)
@click.option(
    "--metrics",
    metavar="NAME,...",
    default=",".join(METRICS),
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
    help="Write one self-contained page (needs safebench[plots]).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "md", "json"]),
    default="table",
    show_default=True,
    help="What to print.",
)
@click.option(
    "--data-root",
    metavar="DIR",
    envvar="SAFEBENCH_DATA",
    show_envvar=True,
    help="Local copies of hub sets: DIR/ORG/NAME [default: the run's].",
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
    data_root: str | None,
) -> None:
    """Show where a run is unsure and wrong, from its stored predictions.

    RUN is a run folder, or its name below ./runs. No model is loaded. Works for every
    strategy with an uncertainty, or with a score and a threshold to be close to.
    """
    from safebench.analysis.wanted import Wanted
    from safebench.specs import MetricSpec

    wanted = Wanted(
        classifiers=classifiers,
        strategies=strategies,
        datasets=datasets,
        part=part,
        columns=columns,
        top=top,
        text=text,
        data_root=data_root,
        always_detailed=form == "json" or html is not None,
    )
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    specs = [plugins.get(MetricSpec, name) for name in names]
    execute(plugins, run, wanted, specs, form=form, plots=plots, html=html)


def execute(
    plugins: Plugins,
    run: Path,
    wanted: Wanted,
    metrics: list[MetricSpec],
    *,
    form: str,
    plots: Path | None,
    html: Path | None,
) -> None:
    """Analyse, print, and write what was asked for."""
    from safebench.analysis import analyse
    from safebench.analysis.reading import find_run
    from safebench.analysis.views import render
    from safebench.reporters.screen import screen
    from safebench.reporters.text import encodable

    if plots or html:
        from safebench.plots.require import require_plots

        require_plots()  # before the work, not after it
    analysis = analyse(find_run(run), wanted, plugins, metrics)
    view = screen()
    text = encodable(render(analysis, form, view), view.encoding)
    click.echo(text, color=view.styles or None)
    for path in _written(analysis, plots, html):
        click.echo(f"wrote {path}", err=True)


def _written(analysis: Analysis, plots: Path | None, html: Path | None) -> list[Path]:
    """Write plots and page, and return the files."""
    written: list[Path] = []
    if plots is not None:
        from safebench.plots.figures import left_out
        from safebench.plots.files import write_plots

        written += write_plots(analysis, plots)
        if left_out(analysis):
            click.echo(left_out(analysis), err=True)
    if html is not None:
        from safebench.plots.page import write_page

        written.append(write_page(analysis, html))
    return written
