"""`run`: classifiers x strategies x datasets into one table of results."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from safebench.console import echo

from . import flags
from .execution import STARTING, exit_after, loading_notice, print_errors
from .launched import is_left_out, with_launched_workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safebench.pipeline.config import RunConfig
    from safebench.pipeline.run_summary import RunSummary
    from safebench.plugins import Plugins

EPILOG = """\b
Examples:
  safebench run --classifier llamaguard --strategy marginal_any
  safebench run -c keyword -c llamaguard -s all -d xstest -d my.jsonl
  safebench run -c llamaguard -d xstest --calibrate platt --calibrate isotonic
  safebench run -c keyword -d xstest --latency 100
  safebench run -c big=llamaguard,model=meta-llama/Llama-Guard-3-8B -d toxic_chat:test
  safebench run -c llamaguard -d toxic_chat --executor processes --workers 4
"""


@click.command("run", epilog=EPILOG)
@flags.CLASSIFIERS
@flags.STRATEGIES
@click.option(
    "--calibrate",
    multiple=True,
    metavar="[LABEL=]NAME[,KEY=VALUE]...",
    help="Also give probabilities that are fitted on the held-out share; see "
    "`safebench list calibrators`. Repeatable.",
)
@flags.DATASET.with_parameter("datasets").override(
    help=f"{flags.DATASET_HELP} Repeatable [default: starter]."
)
@flags.MODEL
@flags.SETS
@click.option("--device", metavar="NAME", help="Short for --set device=NAME.")
@click.option("--dtype", metavar="NAME", help="Short for --set dtype=NAME.")
@click.option("--adapter", metavar="DIR", help="Short for --set adapter=DIR.")
@click.option(
    "--limit",
    type=int,
    metavar="N",
    help="At most this many samples of each dataset; related ones stay together.",
)
@flags.SEED.override(
    help="Seed of the samples that --limit and --latency take [default: 0]."
)
@click.option(
    "--calibration-fraction",
    type=float,
    metavar="SHARE",
    help="Share of the samples that is held out from metrics, to fit thresholds and "
    "calibration on [default: 1/3].",
)
@click.option(
    "--max-failures",
    metavar="N|P%",
    help="Exit with 1 if more samples than this fail [default: 5%].",
)
@click.option(
    "--skip-missing",
    is_flag=True,
    default=None,
    help="Go on without the sets of a pack that cannot be read; the table names them.",
)
@flags.ON_BAD_ROW
@flags.LABEL_MAP
@flags.DATA_ROOT
@flags.REVISIONS
@flags.STRICT_DATA
@flags.CONFIG
@click.option("-o", "--out", metavar="DIR", help="Run folder [default: runs/...].")
@click.option(
    "--predictions",
    type=flags.Choice(["jsonl", "parquet", "none"]),
    help="How predictions are stored [default: jsonl].",
)
@click.option(
    "--keep-text",
    is_flag=True,
    default=None,
    help="Also store the texts of all samples, so that pages show prompts where the "
    "datasets are not at hand; whoever gets the folder gets them.",
)
@click.option(
    "--shard-size",
    type=int,
    metavar="N",
    help="Samples between two savings [default: the classifier's own].",
)
@flags.EXECUTOR
@flags.WORKERS
@flags.ADDRESS
@flags.GPUS_PER_WORKER
@click.option(
    "--latency",
    type=int,
    metavar="N",
    help="Also ask about N samples of each dataset one at a time, chosen by --seed: "
    "latency_p50 and latency_p95, in seconds, with intervals from 6 and 72 samples on. "
    "A service is asked again.",
)
@click.option(
    "--refresh",
    is_flag=True,
    help="Record again what is stored: all that other code of the plugin recorded, or "
    "else everything.",
)
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Record again the samples whose recording failed: a service that did not "
    "answer, a text that it refused.",
)
@flags.DEBUG
@click.pass_obj
def command(
    plugins: Plugins,
    /,
    config_file: str | None,
    refresh: bool,
    retry_failed: bool,
    debug: bool,
    **given: Any,
) -> None:
    """Run classifiers x strategies x datasets into one results table.

    Each classifier looks at each dataset once; every strategy then reads what it
    recorded. An interrupted run goes on when the command is repeated. Started several
    times by torchrun or accelerate launch, it is one run with as many workers.
    """
    if is_left_out():
        return
    exit_after(
        lambda: execute(
            plugins,
            with_launched_workers(configure(config_file, given)),
            refresh=refresh,
            retry_failed=retry_failed,
            debug=debug,
        ),
        debug=debug,
        interrupt_notice="interrupted: what is finished is kept; repeat the command to "
        "go on",
    )


def configure(config_file: str | None, given: dict[str, Any]) -> RunConfig:
    """Turn flags as typed into a checked configuration."""
    from pathlib import Path

    from safebench.config_file import parse_key_values
    from safebench.pipeline.config import load_run_config, parse_component_ref

    typed = dict(given)
    for name in ("classifiers", "strategies", "calibrate"):
        typed[name] = tuple(parse_component_ref(text) for text in given[name])
    typed["set"] = parse_key_values(typed.pop("sets"), "--set")
    typed["label_map"] = parse_key_values(given["label_map"], "--label-map")
    typed["revisions"] = _revisions(given["revisions"])
    return load_run_config(Path(config_file) if config_file else None, typed)


def _revisions(texts: Sequence[str]) -> dict[str, str]:
    """Return the commit by the name of a set; "" stands for any set."""
    from safebench.config_file import parse_key_values

    named = [text if "=" in text else f"={text}" for text in texts]
    return {
        name: commit
        for text in named
        for name, commit in (
            {"": text[1:]} if text[0] == "=" else parse_key_values([text], "--revision")
        ).items()
    }


def execute(
    plugins: Plugins,
    config: RunConfig,
    *,
    refresh: bool = False,
    retry_failed: bool = False,
    debug: bool = False,
) -> int:
    """Run, show the leaderboard, and return the exit code.

    With `debug`, parts that failed show their tracebacks.
    """
    with ExitStack() as until_first_line:
        until_first_line.enter_context(loading_notice(STARTING))
        from safebench.pipeline.runner import Runner

        def log(line: str) -> None:
            until_first_line.close()
            echo(line, err=True)

        runner = Runner(
            config, plugins, log, refresh=refresh, retry_failed=retry_failed
        )
        summary = runner.run()
    print_summary(summary, plugins)
    print_errors(summary.errors, debug=debug)
    # Single samples that failed are in the table: they end a run with 1 only above the
    # limit that the user set.
    return 1 if summary.failure_limit_exceeded or summary.errors else 0


def print_summary(summary: RunSummary, plugins: Plugins) -> None:
    """Show the rows of this run, then what to know about them."""
    from safebench.results.latency import latency_lines

    from .leaderboard import print_leaderboard

    # by its full name: another plugin's format called table cannot end a run
    print_leaderboard(summary.rows, plugins, form="safebench:table")
    for line in [*latency_lines(summary.rows), *summary.failures, *summary.notes]:
        echo(line, err=True)
    if summary.failure_limit_exceeded:
        echo("more samples failed than --max-failures allows", err=True)
    echo(f"results: {summary.folder / 'results.jsonl'}")
