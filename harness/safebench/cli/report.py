"""`report`: runs as one page, or as tables for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from safebench.console import echo

from . import flags

if TYPE_CHECKING:
    from safebench.plugins import Plugins
    from safebench.report import ReportRequest

EPILOG = """\b
Examples:
  safebench report runs/llamaguard-starter -o report.html
  safebench report runs/before runs/after --baseline runs/before -o report.html
  safebench report runs/my-run -c llamaguard -d xstest --texts -o report.html
  safebench report runs/my-run --format latex > table.tex
"""
FORMS = ("html", "md", "latex")
ENDINGS = {".html": "html", ".htm": "html", ".md": "md", ".tex": "latex"}
DEFAULT_OUTPUT = "report.html"


@click.command("report", epilog=EPILOG)
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "-o",
    "--out",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write it [default: report.html; md and latex: standard output].",
)
@click.option(
    "--format",
    "form",
    type=flags.Choice(FORMS),
    help="html: one page; md, latex: tables for a paper, best in bold and second best "
    "underlined [default: by the name of -o, else html].",
)
@flags.only
@flags.METRICS.override(
    help="Columns, in this order; see `safebench list metrics` [default: the usual "
    "ones that are there]."
)
@click.option(
    "--sort",
    metavar="NAME",
    help="Metric that orders the lines, best first [default: auroc].",
)
@click.option(
    "--ci",
    is_flag=True,
    help="In md and latex: 95 % intervals beside the numbers, as the page has anyway.",
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="Differences of all others to this one, by paired tests: "
    "CLASSIFIER/STRATEGY, or one of both, or RUN[/CLASSIFIER/STRATEGY].",
)
@flags.TOP.override(help="How many errors of each kind to list.")
@click.option(
    "--texts",
    is_flag=True,
    help="Put their prompts into the page, too, each closed until it is opened.",
)
@flags.SLICES.override(
    help="Slices by this column only; repeatable [default: all that there are]."
)
@flags.GAPS.override(help="Add the gaps between slices, with tests.")
@flags.DATA_ROOT.override(
    help="Local copies of hub sets: DIR/ORG/NAME [default: the run's]."
)
@click.pass_obj
def command(  # noqa: PLR0917 - click names them all
    plugins: Plugins,
    runs: tuple[str, ...],
    output: Path | None,
    form: str | None,
    classifiers: tuple[str, ...],
    strategies: tuple[str, ...],
    datasets: tuple[str, ...],
    metrics: str | None,
    sort: str | None,
    ci: bool,
    baseline: str | None,
    top: int,
    texts: bool,
    columns: tuple[str, ...],
    gaps: bool,
    data_root: str | None,
) -> None:
    """Write runs as one page: scores, charts, errors, analysis, how it was made.

    RUN is a run folder, or its name below ./runs; without one, every run there. The
    page is one file that needs no network; no model is loaded. It holds no prompt
    unless --texts asks for them.
    """
    from safebench.analysis.request import AnalysisRequest
    from safebench.report import ReportRequest, read_report, write_page

    from .analyze import DEFAULT_METRICS

    form = form or _form_of(output)
    request = ReportRequest(
        runs=runs,
        analysis=AnalysisRequest(
            classifiers=classifiers,
            strategies=strategies,
            datasets=datasets,
            slice_columns=columns,
            n_examples=top,
            include_text=texts,
            data_root=data_root,
            always_detailed=True,
            gaps=gaps,
        ),
        metrics=tuple(flags.split_names(metrics)),
        sort=sort,
        slice_metrics=DEFAULT_METRICS,
        baseline=baseline,
    )
    if form != "html":
        _write_tables(request, plugins, form, output, ci=ci)
        return
    content = read_report(request, plugins, _say)
    path = write_page(content, output or Path(DEFAULT_OUTPUT), _say)
    echo(f"wrote {path}", err=True)


def _write_tables(
    request: ReportRequest,
    plugins: Plugins,
    form: str,
    output: Path | None,
    *,
    ci: bool,
) -> None:
    """Write tables for a paper to a file or to standard output."""
    from safebench.console import echo_rendered
    from safebench.errors import OptionError
    from safebench.files import write_lines
    from safebench.report import read_table, render_paper

    for option, is_given in {
        "--baseline": request.baseline is not None,
        "--texts": request.analysis.include_text,
        "--gaps": request.analysis.gaps,
    }.items():
        if is_given:
            raise OptionError(
                f"tables for a paper hold scores alone: leave out {option}, or --format"
            )
    text = render_paper(read_table(request, plugins), form, ci=ci)
    if output is None:
        echo_rendered(lambda _: text)
        return
    write_lines(output, text.split("\n"))
    echo(f"wrote {output}", err=True)


def _say(step: str) -> None:
    from safebench.sanitize import printable

    echo(f"{printable(step)} ...", err=True)


def _form_of(output: Path | None) -> str:
    """Return the format that a file's name says; raises OptionError for another one."""
    from safebench.errors import OptionError

    if output is None:
        return "html"
    form = ENDINGS.get(output.suffix.lower())
    if form is None:
        raise OptionError(
            f"-o {output}: a report is written as {', '.join(ENDINGS)}; with --format "
            "the file may have any name"
        )
    return form
