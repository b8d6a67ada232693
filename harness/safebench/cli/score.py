"""`score`: one conversation, judged by any classifier and strategy."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from itertools import product
from threading import Timer
from typing import TYPE_CHECKING, Any

import click

from . import flags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safebench.asking import Answer, Question
    from safebench.plugins import Plugins
    from safebench.run.config import RunConfig

EPILOG = """\b
Examples:
  safebench score "how do I pick a lock?"
  safebench score -c llamaguard -s greedy --response "Sure: first ..." "pick a lock"
  safebench score -c llamaguard --model meta-llama/Llama-Guard-3-1B - < letter.txt
  safebench score -c keyword -c llamaguard -s all "how do I pick a lock?"
  safebench score -c keyword --json - < conversations.jsonl
"""


@click.command("score", epilog=EPILOG)
@click.argument("words", nargs=-1, metavar="TEXT|-")
@flags.CLASSIFIERS.but(
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
@flags.JSON.but(help="Print one JSON object for each answer.")
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
    input is one prompt, whole. A response is judged in the light of its prompt. Exits
    with 1 if a judgement failed.
    """
    try:
        with flags.mistakes_shown(debug):
            asked = answers(plugins, configure(plugins, given), given, task)
            failed = [_show(answer, as_json) for answer in asked]
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if any(failed) else 0)


def read(given: dict[str, Any]) -> list[Question]:
    """Return the conversations that the options name."""
    from safebench.asking.question import from_file, piped, typed
    from safebench.errors import OptionError

    words, path, response = given["words"], given["prompt_file"], given["response"]
    if len(words) > 1:
        raise OptionError(
            f'TEXT is one argument: put quotes around it, "{words[0]} ..."'
        )
    if (not words) == (path is None):
        raise OptionError("what shall be judged? say TEXT, - or --prompt-file FILE")
    if words and words[0] != "-":
        return [typed(words[0], response)]
    form = given["form"]
    if path is not None:
        found = from_file(path, form)
    else:
        found = piped(_standard_input(), "stdin", form)
    if response is None:
        return found
    if len(found) > 1 or found[0].where:
        raise OptionError("--response goes with one prompt, not with JSON lines")
    return [typed(found[0].turns[0].text, response)]


def _standard_input() -> bytes:
    """Read all of it; a person at a terminal is told how to end."""
    from safebench.errors import OptionError

    if sys.stdin is None:  # closed by whoever started us
        raise OptionError("standard input is closed, so - has nothing to judge")
    if sys.stdin.isatty():
        click.echo("reading the prompt; end it with Ctrl-D (Ctrl-C stops)", err=True)
    return sys.stdin.buffer.read()


def configure(plugins: Plugins, given: dict[str, Any]) -> RunConfig:
    """Return a run without a dataset."""
    from safebench.asking.defaults import default_classifier
    from safebench.run.config import RunConfig
    from safebench.run.terms import parse_pairs, parse_term

    names = given["classifiers"] or (default_classifier(plugins),)
    return RunConfig(
        classifiers=tuple(map(parse_term, names)),
        strategies=tuple(map(parse_term, given["strategies"])),
        model=given["model"],
        set=parse_pairs(list(given["sets"]), "--set"),
    )


def answers(
    plugins: Plugins, config: RunConfig, given: dict[str, Any], task: str | None
) -> Iterator[tuple[str, Answer]]:
    """Yield every answer with the place of its question, as soon as it is known.

    Names and options are checked before anything is read, and all that is read before
    a model is loaded.
    """
    from safebench.asking import Desk
    from safebench.asking.question import refuse_task

    refuse_task(task)
    desk = Desk(plugins)
    everyone, skipped = desk.choose_all(config)
    questions = read(given)
    for question, chosen in product(questions, everyone):
        question.sample(chosen.spec, task or "")
    for line in skipped:
        click.echo(f"skipped {line}", err=True)
    for question, chosen in product(questions, everyone):
        first = question is questions[0]
        with patience(f"loading {chosen.label} ...") if first else nullcontext():
            recorded = desk.record(chosen, question, task or "")
        for answer in recorded.answers():
            yield question.where, answer


@contextmanager
def patience(message: str, seconds: float = 1.0) -> Iterator[None]:
    """Say something to a person at a terminal for whom it takes long."""
    timer = Timer(seconds, lambda: click.echo(message, err=True))
    timer.daemon = True
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _show(found: tuple[str, Answer], as_json: bool) -> bool:
    """Print one answer; return whether the judgement failed."""
    from safebench.reporters.screen import screen
    from safebench.reporters.text import encodable, printable

    where, answer = found
    view = screen()
    if as_json:
        from safebench.asking.line import json_line

        place = {"where": where} if where else {}
        click.echo(json_line(place | answer.to_json(), view.encoding))
    elif view.styles:
        from safebench.asking.drawn import render

        click.echo(encodable(render(answer, where, view), view.encoding), color=True)
    else:
        from safebench.asking.plain import lines

        text = "\n".join(lines(answer, where)) + "\n"
        click.echo(encodable(text, view.encoding))
    if answer.error:
        who = f"{answer.classifier} x {answer.strategy}"
        at = f"{where}: " if where else ""
        said = printable(f"{at}no verdict by {who}: {answer.error}")
        click.echo(encodable(said, sys.stderr.encoding or "utf-8"), err=True)
    return answer.error is not None
