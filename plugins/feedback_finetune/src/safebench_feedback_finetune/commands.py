"""The command group `feedback`; each command imports its work when it runs.

A command is a `Stage`: its flags are the fields of a dataclass in `options`, its work
is ``run(options, plugins, say) -> exit code``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import click

from safebench.errors import SafebenchError
from safebench.specs import TrainerSpec

if TYPE_CHECKING:
    from dataclasses import Field

    from safebench.plugins import Plugins

_HERE = "safebench_feedback_finetune"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(TrainerSpec):
    """One command of the group. `load` names its work, `options` its dataclass."""

    kind: ClassVar[str] = "command"

    dataset: str = ""
    examples: tuple[str, ...] = ()


STAGES = (
    Stage(
        name="collect",
        summary="ask a guard and a language model, and keep what slipped through",
        load=f"{_HERE}.collect:run",
        options=f"{_HERE}.options:CollectOptions",
        examples=(
            "-d beavertails --limit 300 --out collected",
            "-d beavertails -d diasafety:validation --out collected",
            "-d toxic_chat --generator org/model --answers 4 --out answered",
            "--config research_config.json --out collected",
        ),
    ),
    Stage(
        name="train",
        summary="teach the guard, and certify it or keep the one there was",
        load=f"{_HERE}.train:run",
        options=f"{_HERE}.train_options:TrainOptions",
        examples=(
            "--collected collected --benign toxic_chat --out improved",
            "--collected collected --benign mine.jsonl --cap 0.05 --strict --out mine",
        ),
    ),
    Stage(
        name="evaluate",
        summary="compare base guard, its re-tuned threshold, and what was learnt",
        load=f"{_HERE}.evaluate:run",
        options=f"{_HERE}.train_options:EvaluateOptions",
        examples=(
            "--improved improved",
            "--improved improved --ood xstest --ood toxic_chat:test",
        ),
    ),
    Stage(
        name="full",
        summary="collect, train and evaluate; goes on where it was",
        load=f"{_HERE}.full:run",
        options=f"{_HERE}.train_options:FullOptions",
        examples=(
            "-d beavertails --benign toxic_chat --ood xstest --out feedback",
            "-d beavertails --limit 300 --benign toxic_chat --epochs 1 --out trial",
        ),
    ),
)


class StageGroup(click.Group):
    """The commands of `feedback`, made when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the stages in the order in which they are run."""
        return [stage.name for stage in STAGES]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        cmd_name: str,
    ) -> click.Command | None:
        """Return a stage's command, or None."""
        found = (stage for stage in STAGES if stage.name == cmd_name)
        return next(map(stage_command, found), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a stage, or fail with exit code 2 and the nearest name."""
        from safebench.errors import unknown

        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            raise unknown("command of feedback", args[0], names)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        formatter: click.HelpFormatter,
    ) -> None:
        """List names and summaries; no stage's options are imported for that."""
        with formatter.section("Commands"):
            formatter.write_dl([(stage.name, stage.summary) for stage in STAGES])


@click.group("feedback", cls=StageGroup)
def group() -> None:
    """Teach a guard from what it let through, and check that it got better."""


def stage_command(stage: Stage) -> click.Command:
    """Return the command of one stage: a flag for each of its options."""
    return click.Command(
        stage.name,
        params=[*stage_flags(stage), *_common_flags()],
        callback=partial(_start, stage),
        help=f"{stage.summary[0].upper()}{stage.summary[1:]}.",
        epilog="\b\n" + "\n".join(["Examples:", *_examples(stage)]),
    )


def _examples(stage: Stage) -> list[str]:
    return [f"  safebench feedback {stage.name} {words}" for words in stage.examples]


def stage_flags(stage: Stage) -> list[click.Option]:
    """Return a flag for each field of a stage's options, its own before the shared."""
    from safebench.options import option_type
    from safebench.training.flags import option_flags

    from .options import SharedOptions

    found = option_type(stage)
    assert found, f"{stage.name} has no options"
    given = {field.name: field for field in fields(found)}
    flags = option_flags(stage)
    assert all(flag.name in given for flag in flags), f"{stage.name}: stray flags"
    shared = {field.name for field in fields(SharedOptions)}
    flags.sort(key=lambda flag: flag.name in shared)
    return [_renamed(flag, given[str(flag.name)]) for flag in flags]


def _renamed(flag: click.Option, field: Field[Any]) -> click.Option:
    """Return a flag under the names that its field gives it, repeatable if it may be.

    A dataset's term may hold commas: what repeats is not cut at them.
    """
    names = field.metadata.get("flags")
    if not field.metadata.get("repeat"):
        flag.opts = list(names or flag.opts)
        return flag
    return click.Option(
        [*(names or flag.opts), field.name],
        multiple=True,
        metavar=flag.metavar,
        help=f"{field.metadata['help']}. Repeatable.",
    )


def _common_flags() -> list[click.Option]:
    return [
        click.Option(
            ["--config", "config_file"],
            metavar="FILE",
            help="The same options as a .yaml or .json file; those typed here win.",
        ),
        click.Option(
            ["--debug"], is_flag=True, help="Show the traceback of a mistake."
        ),
    ]


def _start(stage: Stage, /, config_file: str | None, debug: bool, **flags: Any) -> None:
    from safebench.plugins import Plugins

    plugins = click.get_current_context().find_object(Plugins) or Plugins()
    try:
        code = execute(stage, config_file, flags, plugins)
    except SafebenchError:
        if debug:
            raise RuntimeError(
                "the mistake below, with its traceback"
            ) from sys.exception()
        raise
    except KeyboardInterrupt:
        click.echo(
            "\ninterrupted: what is finished is kept; repeat the command to go on",
            err=True,
        )
        code = 130
    sys.exit(code)


def execute(
    stage: Stage, config_file: str | None, flags: dict[str, Any], plugins: Plugins
) -> int:
    """Run a stage with its flags over those of a file, and return the exit code."""
    from pathlib import Path

    from safebench.options import build_options

    from .settings import read_settings

    say = partial(click.echo, err=True)
    values: dict[str, Any] = {}
    if config_file:
        settings = read_settings(Path(config_file), stage, STAGES)
        values = settings.values
        for note in settings.notes:
            say(note)
    given = {k: v for k, v in flags.items() if v not in (None, ())}
    options = build_options(stage, values | given)
    return int(stage.code()(options, plugins, say))
