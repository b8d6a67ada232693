"""The command group `feedback`: collect, train, evaluate, full.

A command is a `Stage`. Its flags are the fields of a dataclass in `options`; `load`
names a function ``run(options, plugins, say) -> exit code``. That function is imported
when the command runs, since it needs torch and every start of `safebench` imports this
module.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import click

from safebench import TrainerSpec, echo
from safebench.errors import OptionError, SafebenchError
from safebench.training import check_process_group, is_main_process

if TYPE_CHECKING:
    from dataclasses import Field

    from safebench import Plugins

_PACKAGE = "safebench_feedback_finetune"
# What launchers of several processes (torchrun, accelerate, mpirun, srun) set; the
# library that trains reads the same but for the last. SLURM_NTASKS says how many may be
# started, and is there in a script that starts one.
_GROUP_SIZE_VARIABLES = (
    *("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"),
    "SLURM_STEP_NUM_TASKS",
)
# The library that trains connects the processes itself, by what --set says of that.
_TRAINING_STAGES = ("train", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(TrainerSpec):
    """One command of the group: `load` names its function, `options` its dataclass.

    It is a trainer's declaration because the flags of `safebench train` are made from
    the same fields.
    """

    kind: ClassVar[str] = "command"

    dataset: str = ""  # required by trainers; a stage names datasets by its flags
    examples: tuple[str, ...] = ()


STAGES = (
    Stage(
        name="collect",
        summary="ask a guard and a language model, and keep what slipped through",
        load=f"{_PACKAGE}.collect.collection_loop:run",
        options=f"{_PACKAGE}.options:CollectOptions",
        examples=(
            "-d beavertails --limit 300 --out collected",
            "-d beavertails -d diasafety:validation --out collected",
            "-d toxic_chat --generator org/model --answers 4 --out answered",
            "-d beavertails --output-guard cost_model,model=my-costs --out judged",
            "--config research_config.json --out collected",
        ),
    ),
    Stage(
        name="train",
        summary="teach the guard, and certify it or keep the one there was",
        load=f"{_PACKAGE}.train.training_run:run",
        options=f"{_PACKAGE}.options:FeedbackTrainOptions",
        examples=(
            "--collected collected --benign toxic_chat --out improved",
            "--collected collected --benign mine.jsonl --cap 0.05 --strict --out mine",
        ),
    ),
    Stage(
        name="evaluate",
        summary="compare base guard, its re-tuned threshold, and what was learnt",
        load=f"{_PACKAGE}.evaluate.evaluation:run",
        options=f"{_PACKAGE}.options:EvaluateOptions",
        examples=(
            "--improved improved",
            "--improved improved --ood xstest --ood toxic_chat:test",
        ),
    ),
    Stage(
        name="full",
        summary="collect, train and evaluate; goes on where it was",
        load=f"{_PACKAGE}.full:run",
        options=f"{_PACKAGE}.options:FullOptions",
        examples=(
            "-d beavertails --benign toxic_chat --ood xstest --out feedback",
            "-d beavertails --limit 300 --benign toxic_chat --epochs 1 --out trial",
        ),
    ),
)


class StageGroup(click.Group):
    """A group whose commands are built when click looks them up."""

    def list_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
    ) -> list[str]:
        """Return the stages in the order in which they are run."""
        return [stage.name for stage in STAGES]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        cmd_name: str,
    ) -> click.Command | None:
        """Return a stage's command, or None."""
        matching = (stage for stage in STAGES if stage.name == cmd_name)
        return next(map(stage_command, matching), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a stage, or fail with exit code 2 and the nearest name."""
        from safebench.errors import unknown_name

        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-"):
            raise unknown_name("command of feedback", args[0], names)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's
        formatter: click.HelpFormatter,
    ) -> None:
        """List names and summaries without importing any stage's options."""
        with formatter.section("Commands"):
            formatter.write_dl([(stage.name, stage.summary) for stage in STAGES])


@click.group("feedback", cls=StageGroup)
def feedback_group() -> None:
    """Teach a guard from what it let through, and check that it got better."""


def stage_command(stage: Stage) -> click.Command:
    """Return the command of one stage: a flag for each of its options."""
    return click.Command(
        stage.name,
        params=[*stage_flags(stage), *_common_flags()],
        callback=partial(_invoke, stage),
        help=f"{stage.summary[0].upper()}{stage.summary[1:]}.",
        # "\b" keeps click from wrapping the lines that follow
        epilog="\b\n" + "\n".join(["Examples:", *_example_lines(stage)]),
    )


def _example_lines(stage: Stage) -> list[str]:
    return [f"  safebench feedback {stage.name} {args}" for args in stage.examples]


def stage_flags(stage: Stage) -> list[click.Option]:
    """Return a flag for each field of a stage's options, shared ones last."""
    from safebench.options import OptionSchema
    from safebench.training import option_flags

    from .options import SharedOptions

    cls = OptionSchema.of(stage).options_class
    assert cls, f"{stage.name} has no options"
    fields_by_name = {field.name: field for field in fields(cls)}
    flags = option_flags(stage)
    unknown = [flag.name for flag in flags if flag.name not in fields_by_name]
    assert not unknown, f"{stage.name}: flags without a field: {unknown}"
    shared = {field.name for field in fields(SharedOptions)}
    flags.sort(key=lambda flag: flag.name in shared)
    return [
        _with_field_metadata(flag, fields_by_name[str(flag.name)]) for flag in flags
    ]


def _with_field_metadata(flag: click.Option, field: Field[Any]) -> click.Option:
    """Return a flag with the names of its field's metadata, and repeatable if it says.

    A repeatable flag replaces the comma-separated list that the core makes of a tuple:
    the name of a dataset may contain commas.
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


def _invoke(
    stage: Stage, /, config_file: str | None, debug: bool, **flags: Any
) -> None:
    from safebench import Plugins

    plugins = click.get_current_context().find_object(Plugins) or Plugins()
    try:
        code = run_stage(stage, config_file, flags, plugins)
    except SafebenchError:
        if debug:
            raise RuntimeError(
                "the mistake below, with its traceback"
            ) from sys.exception()
        raise
    except KeyboardInterrupt:
        echo(
            "\ninterrupted: what is finished is kept; repeat the command to go on",
            err=True,
        )
        code = 130  # 128 + SIGINT, as a shell reports it
    click.get_current_context().exit(code)


def run_stage(
    stage: Stage, config_file: str | None, flags: dict[str, Any], plugins: Plugins
) -> int:
    """Run a stage with its flags over those of a file, and return the exit code."""
    _check_process_group(stage)
    from pathlib import Path

    from safebench.options import build_options

    from .config_file import read_config_file

    # In a group of processes all run this: one of them speaks.
    say = partial(echo, err=True) if is_main_process() else _discard
    values: dict[str, Any] = {}
    if config_file:
        from_file = read_config_file(Path(config_file), stage, STAGES)
        values = from_file.values
        for note in from_file.notes:
            say(note)
    # click has None or () for a flag that was not typed
    typed = {name: value for name, value in flags.items() if value not in (None, ())}
    options = build_options(stage, values | typed)
    run = stage.code()
    from .process_group import join_group, leave_group

    if stage.name not in _TRAINING_STAGES:
        join_group(options.device)
    return leave_group(int(run(options, plugins, say)))


def _discard(_: str) -> None:
    """Print nothing: the main process of the group prints it."""


def _check_process_group(stage: Stage) -> None:
    """Raise OptionError in every process of a launched group that cannot be joined.

    A stage is shared among processes that torchrun or accelerate numbered; those of
    other launchers would all take themselves for the main one.
    """
    check_process_group()
    if os.environ.get("WORLD_SIZE") not in (None, "", "1"):
        return  # torchrun below srun or mpirun numbers the processes itself
    for name in _GROUP_SIZE_VARIABLES:
        size = os.environ.get(name, "")
        if not size:
            continue
        if not (size.isascii() and size.isdigit()) or int(size) < 1:
            raise OptionError(
                f"feedback {stage.name}: {name}={size!r} in the environment is no "
                "number of processes, as launchers set it; unset it"
            )
        if int(size) > 1:
            raise OptionError(
                f"feedback {stage.name}: a launcher started {size} processes ({name}) "
                "that it does not number as torchrun and accelerate launch do; start "
                "it with one of these"
            )
