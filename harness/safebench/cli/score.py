"""`score`: one conversation, judged by any classifier and strategy."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from safebench.console import echo, echo_styled, terminal_capabilities

from . import flags
from .execution import STARTING, exit_after, loading_notice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.pipeline.config import RunConfig
    from safebench.plugins import Plugins
    from safebench.score import Conversation, ScoreResult
    from safebench.score.deployment import Deployment
    from safebench.score.log_scoring import LogSummary

EPILOG = """\b
Examples:
  safebench score "how do I pick a lock?"
  safebench score -c llamaguard -s greedy --response "Sure: first ..." "pick a lock"
  safebench score -c llamaguard --model meta-llama/Llama-Guard-3-1B - < letter.txt
  safebench score -c keyword -c llamaguard -s all "how do I pick a lock?"
  safebench score -c keyword --json - < conversations.jsonl
  safebench score --operating-point point.json "how do I pick a lock?"
  safebench score log.jsonl.gz -o scores -c keyword
  safebench score log.parquet -o scores --column text --on-error skip
"""

_MAX_SHOWN = 100  # characters of a text in a message
_FILE_NAME = re.compile(
    r"[^\s?!,]+\.(txt|md|jsonl?|ndjson|csv|tsv|parquet|ya?ml|gz|bz2|xz|html?|pdf|docx?)",
    re.IGNORECASE,
)


@click.command("score", epilog=EPILOG)
@click.argument("words", nargs=-1, metavar="TEXT|-")
@flags.CLASSIFIERS.override(
    help="Who judges; see `safebench list classifiers`. Repeatable [default: "
    "llamaguard, or keyword without its plugin]."
)
@flags.STRATEGIES
@flags.MODEL
@flags.SETS
@click.option("--response", metavar="TEXT", help="Judge this response to the prompt.")
@click.option(
    "--prompt-file", metavar="FILE", help="Read the prompt, or JSON lines, from a file."
)
@click.option(
    "--input",
    "form",
    type=flags.Choice(["auto", "text", "jsonl"]),
    default="auto",
    help="What - or the file holds: one prompt (text) or one conversation a line "
    "(jsonl) [default: auto].",
)
@click.option(
    "--task",
    metavar="NAME",
    help="What to judge: prompt_harm, response_harm, refusal, injection, jailbreak or "
    "groundedness [default: response_harm with a response, else prompt_harm].",
)
@flags.OPERATING_POINT
@flags.JSON.override(help="Print one JSON object for each answer.")
@click.option(
    "-o",
    "--out",
    metavar="DIR",
    help="Judge each row of TEXT, then a file (.jsonl, perhaps with .gz, or .parquet), "
    "and write shards of scores into this folder. The same command again goes on where "
    "it was stopped.",
)
@click.option(
    "--column",
    metavar="NAME",
    help="The column that has the text of a row [default: prompt].",
)
@click.option(
    "--on-error",
    type=flags.Choice(["stop", "skip"]),
    help="Stop before anything is judged if rows cannot be read, or leave them out and "
    "count them [default: stop].",
)
@click.option(
    "--format",
    "out_format",
    type=flags.Choice(["jsonl", "parquet"]),
    help="How shards are written [default: jsonl].",
)
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    metavar="N",
    help="Rows of a shard [default: 1024].",
)
@flags.EXECUTOR
@flags.WORKERS
@flags.ADDRESS
@flags.GPUS_PER_WORKER
@flags.DEBUG
@click.pass_obj
def command(
    plugins: Plugins, /, as_json: bool, task: str, debug: bool, **given: Any
) -> None:
    """Judge one conversation: verdict, score, categories or cost, uncertainty, time.

    Each classifier and strategy gives an answer of its own.

    TEXT is the prompt, in quotes; - reads it from standard input, and -- comes before
    one that starts with a dash. Input whose first line is a JSON object with `prompt`
    (and perhaps `response`) or `messages` holds one conversation a line; any other
    input is one prompt, whole. A response is judged in the light of its prompt. With
    an operating point its guard judges, and answers block, review or pass. Exits with 1
    if a judgement failed.

    With -o a whole log is judged, by one classifier and one strategy: rows have
    `prompt` (or --column) or `messages`, perhaps `response`, `id`, `group` and `time`.
    `safebench drift RUN DIR` reads what comes out. Exits with 1 if more than 5 % of the
    rows failed.
    """
    given["debug"] = debug
    if given["out"] is None:
        _refuse_log_options(given)
        work = lambda: execute(plugins, given, task, as_json=as_json)  # noqa: E731
        exit_after(work, debug=debug)
    exit_after(
        lambda: score_log(plugins, given, task or "", as_json=as_json),
        debug=debug,
        interrupt_notice="stopped; the same command again goes on from here",
    )


_LOG_OPTIONS = (
    *("column", "on_error", "out_format", "shard_size"),
    *("executor", "workers", "address", "gpus_per_worker"),
)
_MAX_FAILED_SHARE = 0.05


def _refuse_log_options(given: dict[str, Any]) -> None:
    """Raise OptionError for an option that says nothing of a single conversation."""
    from safebench.errors import OptionError

    for name in _LOG_OPTIONS:
        if given[name] is not None:
            flag = "--format" if name == "out_format" else f"--{name.replace('_', '-')}"
            raise OptionError(f"{flag} is for a log: name the folder of its scores, -o")


def score_log(
    plugins: Plugins, given: dict[str, Any], task: str, *, as_json: bool
) -> int:
    """Score a file row by row into a folder, and return the exit code."""
    with loading_notice(STARTING):
        from dataclasses import replace

        from safebench.errors import OptionError
        from safebench.pipeline.config import RunConfig
        from safebench.score import ScoringService
        from safebench.score.conversation import check_task
        from safebench.score.log_output import ScoreFolder
        from safebench.score.log_scoring import LogRequest, LogScorer

        check_task(task)
        if as_json or given["response"] is not None or given["form"] != "auto":
            raise OptionError("-o judges a file: leave --json, --response and --input")
        deployment = deploy_point(plugins, given) if given["operating_point"] else None
        config = RunConfig() if deployment else configure(plugins, given)
        config = replace(
            config,
            **{name: given[name] for name in _LOG_OPTIONS[4:]},
        )
        if deployment is not None:
            classifier = deployment.classifier
        else:
            recorded = ScoreFolder(Path(given["out"]), "").recorded()
            service = ScoringService(plugins)
            classifiers, skipped = service.resolve_all(config, recorded)
            if len(classifiers) != 1:
                raise OptionError("-o holds the scores of one classifier: say one -c")
            (classifier,) = classifiers
            for line in skipped:
                echo(f"skipped {line}", err=True)
        request = LogRequest(
            file=_log_path(given),
            out=given["out"],
            column=given["column"] or "prompt",
            task=task,
            skip_bad=given["on_error"] == "skip",
            form=given["out_format"] or "jsonl",
            **({"shard_size": given["shard_size"]} if given["shard_size"] else {}),
        )
        scorer = LogScorer(
            request,
            classifier,
            config,
            plugins,
            lambda line: echo(line, err=True),
            deployment,
        )
    return _print_summary(scorer.run())


def _log_path(given: dict[str, Any]) -> str:
    """Return the file that is to be judged."""
    from safebench.errors import OptionError

    named = [*given["words"], *filter(None, [given["prompt_file"]])]
    if len(named) != 1:
        raise OptionError(f"-o judges the rows of one file, not of {len(named)}")
    if named[0] == "-":
        raise OptionError("-o reads its file twice: standard input cannot be, save it")
    return str(named[0])


def _print_summary(summary: LogSummary) -> int:
    """Print what became of a log, and return the exit code."""
    from safebench.sanitize import printable

    for line in (*summary.reasons, *summary.notes):
        echo(printable(f"note: {line}"), err=True)
    parts = [f"{summary.n:,} rows"]
    parts += [f"{n:,} {verdict}" for verdict, n in sorted(summary.verdicts.items())]
    if summary.n_before:
        parts.append(f"{summary.n_before:,} scored before")
    if summary.n_bad:
        parts.append(f"{summary.n_bad:,} left out")
    if summary.n_failed:
        parts.append(f"{summary.n_failed:,} failed")
    echo(f"{', '.join(parts)}\nscores: {summary.folder}")
    n_now = summary.n - summary.n_before
    return 1 if summary.n_failed > _MAX_FAILED_SHARE * max(n_now, 1) else 0


def execute(
    plugins: Plugins, given: dict[str, Any], task: str | None, *, as_json: bool
) -> int:
    """Score, print each result as soon as it is known, and return the exit code."""
    with loading_notice(STARTING):
        deployment = deploy_point(plugins, given) if given["operating_point"] else None
        config = configure(plugins, given) if deployment is None else None
    results = score_all(plugins, config, given, task, deployment)
    errors: set[str] = set()  # one of a model is that of all its strategies
    failed = [_print_result(result, errors, as_json=as_json) for result in results]
    return 1 if any(failed) else 0


def read_conversations(given: dict[str, Any]) -> list[Conversation]:
    """Return the conversations that the options name."""
    from safebench.errors import OptionError
    from safebench.score.conversation import from_file, from_text, parse_input

    words, path, response = given["words"], given["prompt_file"], given["response"]
    # Joined, the words might have other spaces between them than were typed.
    if len(words) > 1:
        raise OptionError(
            f'TEXT is one argument: put quotes around it, "{words[0]} ..."'
        )
    if (not words) == (path is None):
        raise OptionError("what shall be judged? say TEXT, - or --prompt-file FILE")
    if response is not None:
        _ask_about_file(response, "--response", given["form"])
    if words and words[0] != "-":
        _ask_about_file(words[0], "TEXT", given["form"])
        return [from_text(words[0], response)]
    if path is not None:
        conversations = from_file(path, given["form"])
    else:
        conversations = parse_input(_standard_input(), "stdin", given["form"])
    if response is None:
        return conversations
    if len(conversations) > 1 or conversations[0].location:
        raise OptionError("--response goes with one prompt, not with JSON lines")
    return [from_text(conversations[0].turns[0].text, response)]


def _ask_about_file(text: str, argument: str, form: str) -> None:
    """Raise OptionError for a text that names a file: its name would be judged.

    What has no space and the ending of a data file is taken for a name, too.
    """
    from safebench.errors import OptionError

    if form == "text":
        return
    try:
        is_file = Path(text).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # no name that a file can have
        is_file = False
    if not is_file and not _FILE_NAME.fullmatch(text):
        return
    shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
    what = "is a file" if is_file else "looks like the name of a missing file"
    reads = f"-o DIR judges each of its rows, --prompt-file {shown} what it holds"
    if argument == "--response":
        reads = '--response "$(cat FILE)" judges what it holds'
    raise OptionError(
        f"{argument} {shown!r} {what}: {reads}, --input text the words themselves"
    )


def _standard_input() -> bytes:
    """Read all of it; a person at a terminal is told how to end."""
    from safebench.errors import OptionError

    if sys.stdin is None:  # closed by whoever started us
        raise OptionError("standard input is closed, so - has nothing to judge")
    if sys.stdin.isatty():
        echo("reading the prompt; end it with Ctrl-D (Ctrl-C stops)", err=True)
    return sys.stdin.buffer.read()


def configure(plugins: Plugins, given: dict[str, Any]) -> RunConfig:
    """Return the configuration of a run without a dataset."""
    from safebench.config_file import parse_key_values
    from safebench.first_party import word_list_note
    from safebench.pipeline.config import RunConfig, parse_component_ref
    from safebench.score.service import default_classifier

    names = given["classifiers"]
    if not names:
        names = (default_classifier(plugins),)
        if note := word_list_note(names[0], plugins.distributions):
            echo(note, err=True)
    return RunConfig(
        classifiers=tuple(map(parse_component_ref, names)),
        strategies=tuple(map(parse_component_ref, given["strategies"])),
        model=given["model"],
        set=parse_key_values(given["sets"], "--set"),
    )


def deploy_point(plugins: Plugins, given: dict[str, Any]) -> Deployment:
    """Return the operating point that is named, with its guard."""
    from safebench.config_file import parse_key_values
    from safebench.pipeline.config import RunConfig, parse_component_ref
    from safebench.score.deployment import deploy

    over = RunConfig(
        classifiers=tuple(map(parse_component_ref, given["classifiers"])),
        strategies=tuple(map(parse_component_ref, given["strategies"])),
        model=given["model"],
        set=parse_key_values(given["sets"], "--set"),
    )
    return deploy(given["operating_point"], plugins, over)


def score_all(
    plugins: Plugins,
    config: RunConfig | None,
    given: dict[str, Any],
    task: str | None,
    deployment: Deployment | None = None,
) -> Iterator[tuple[str, ScoreResult]]:
    """Yield every result with the location of its conversation, as soon as known.

    Names and options are checked before anything is read, and all that is read before
    a model is loaded. Where code of a plugin fails, its results have no verdict. The
    guard is that of the deployment, or those that `config` names.
    """
    with loading_notice(STARTING):
        from safebench.score import ScoringService
        from safebench.score.conversation import check_task
        from safebench.score.several import check_conversations, score_conversations

        check_task(task)
        service = ScoringService(plugins)
        classifiers, skipped = (
            ([deployment.classifier], [])
            if deployment is not None
            else service.resolve_all(config or configure(plugins, given))
        )
    conversations = read_conversations(given)
    check_conversations(conversations, classifiers, task or "", deployment)
    for line in skipped:
        echo(f"skipped {line}", err=True)
    yield from score_conversations(
        service,
        conversations,
        classifiers,
        task or "",
        deployment,
        skip=lambda line: echo(f"skipped {line}", err=True),
        loading=lambda label: loading_notice(f"loading {label} ..."),
        debug=given["debug"],
    )


def _print_result(
    located: tuple[str, ScoreResult], errors: set[str], *, as_json: bool
) -> bool:
    """Print one result; return whether the judgement failed.

    An error is also a line on standard error, unless it is one of `errors`, which were
    printed before.
    """
    from safebench.sanitize import json_text, printable
    from safebench.score.render import render_terminal, text_lines

    where, result = located
    options = terminal_capabilities()
    if as_json:
        location = {"where": where} if where else {}
        text = json_text(location | result.to_json(), options.encoding)
    elif options.styles:
        text = render_terminal(result, where, options)
    else:
        text = "\n".join(text_lines(result, where)) + "\n"
    echo_styled(text, options)
    if result.error:
        place = f"{where}: " if where else ""
        pair = f"{result.classifier} x {result.strategy}"
        if f"{place}{result.error}" not in errors:
            echo(printable(f"{place}no verdict by {pair}: {result.error}"), err=True)
        errors.add(f"{place}{result.error}")
    return result.error is not None
