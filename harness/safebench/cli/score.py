"""`score`: one conversation, judged by any classifier and strategy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

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
  safebench score -c keyword --json - < conversations.jsonl
"""


@click.command("score", epilog=EPILOG)
@click.argument("text", required=False, metavar="TEXT|-")
@click.option(
    "-c",
    "--classifier",
    metavar="NAME[,key=value...]",
    help="Who judges [default: llamaguard, or keyword without its plugin].",
)
@click.option(
    "-s",
    "--strategy",
    "strategies",
    multiple=True,
    metavar="NAME[,key=value...]",
    help="How evidence is read, or all; may be repeated [default: the classifier's].",
)
@click.option("--model", metavar="ID|DIR", help="The model of the classifier.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="[LABEL.]KEY=VALUE",
    help="An option of the classifier or strategy.",
)
@click.option("--response", metavar="TEXT", help="Judge this response to the prompt.")
@click.option(
    "--prompt-file", metavar="FILE", help="Read the prompt, or JSON lines, from a file."
)
@click.option(
    "--input",
    "form",
    type=click.Choice(["auto", "text", "jsonl"]),
    default="auto",
    show_default=True,
    help="What - and a file hold.",
)
@click.option("--task", metavar="NAME", help="What to judge, such as response_harm.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per answer.")
@click.pass_obj
def command(plugins: Plugins, /, as_json: bool, task: str, **flags: Any) -> None:
    """Judge one conversation: verdict, score, categories or cost, uncertainty, time.

    TEXT is the prompt; - reads it from standard input. Input whose first line is a JSON
    object with `prompt` (and perhaps `response`) or `messages` holds one conversation a
    line; any other input is one prompt, whole. A response is judged in the light of its
    prompt. Exits with 1 if a judgement failed.
    """
    questions = read(flags)
    config = configure(plugins, flags)
    try:
        failed = [_show(a, as_json) for a in answers(plugins, config, questions, task)]
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if any(failed) else 0)


def read(flags: dict[str, Any]) -> list[Question]:
    """Return the conversations that the flags name."""
    from safebench.asking.question import from_file, piped, typed
    from safebench.errors import OptionError

    text, path, response = flags["text"], flags["prompt_file"], flags["response"]
    if (text is None) == (path is None):
        raise OptionError("what shall be judged? say TEXT, - or --prompt-file FILE")
    if text is not None and text != "-":
        return [typed(text, response)]
    form = flags["form"]
    if path is not None:
        found = from_file(path, form)
    else:
        found = piped(sys.stdin.buffer.read(), "stdin", form)
    if response is None:
        return found
    if len(found) > 1 or found[0].where:
        raise OptionError("--response goes with one prompt, not with JSON lines")
    return [typed(found[0].turns[0].text, response)]


def configure(plugins: Plugins, flags: dict[str, Any]) -> RunConfig:
    """Return a run of one classifier without a dataset."""
    from safebench.asking.defaults import default_classifier
    from safebench.run.config import RunConfig
    from safebench.run.terms import parse_pairs, parse_term

    name = flags["classifier"] or default_classifier(plugins)
    return RunConfig(
        classifiers=(parse_term(name),),
        strategies=tuple(map(parse_term, flags["strategies"])),
        model=flags["model"],
        set=parse_pairs(list(flags["sets"]), "--set"),
    )


def answers(
    plugins: Plugins, config: RunConfig, questions: list[Question], task: str | None
) -> Iterator[tuple[str, Answer]]:
    """Yield every answer with the place of its question, as soon as it is known."""
    from safebench.asking import Desk
    from safebench.asking.question import refuse_task

    refuse_task(task)
    desk = Desk(plugins)
    chosen = desk.choose(config)
    for question in questions:  # all of them, before a model is loaded
        question.sample(chosen.spec, task or "")
    for question in questions:
        for answer in desk.record(chosen, question, task or "").answers():
            yield question.where, answer


def _show(found: tuple[str, Answer], as_json: bool) -> bool:
    """Print one answer; return whether the judgement failed."""
    import json

    from safebench.reporters.screen import screen

    where, answer = found
    if as_json:
        place = {"where": where} if where else {}
        click.echo(json.dumps(place | answer.to_json(), ensure_ascii=False))
    elif screen().styles:
        from safebench.asking.drawn import render

        click.echo(render(answer, where, screen()), color=True)
    else:
        from safebench.asking.plain import lines

        click.echo("\n".join(lines(answer, where)) + "\n")
    if answer.error:
        who = f"{answer.classifier} x {answer.strategy}"
        at = f"{where}: " if where else ""
        click.echo(f"{at}no verdict by {who}: {answer.error}", err=True)
    return answer.error is not None
