"""`train NAME`: a command for every installed trainer, with its options as flags."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from safebench.console import echo, is_main_process
from safebench.errors import SafebenchError
from safebench.specs import TrainerSpec

from . import flags
from .execution import exit_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.plugins import Plugins
    from safebench.training.config import TrainConfig

DATASET_HELP = (
    "datasets by name (see `safebench list datasets`), or files (.jsonl, .csv, "
    ".parquet, ...). Repeatable; without a split, the training split is read"
)
SINGLES = flags.flag(
    "--singles",
    multiple=True,
    metavar=flags.DATASET_METAVAR,
    help="Datasets of responses labelled alone to learn from beside the pairs, such as "
    "beavertails:30k_test. Those that share a prompt with what is validated or tested "
    "on are left out. Repeatable.",
)
EPILOG = """\b
Examples:
  safebench train bert_ensemble --dataset wildguardmix --sample 1000 --epochs 1
  safebench train bert_ensemble --config ensemble.yaml --out models/mine --resume
"""


class TrainGroup(click.Group):
    """The installed trainers as commands, made when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the trainers' names."""
        return sorted({spec.name for spec in _plugins(ctx).all(TrainerSpec)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Return a trainer's command; raise `UnknownNameError` naming the nearest."""
        return trainer_command(_plugins(ctx).get(TrainerSpec, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a trainer by its name."""
        if args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        return args[0], self.get_command(ctx, args[0]), args[1:]

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List names and summaries; no trainer's options are imported for that."""
        specs = {spec.name: spec.summary for spec in _plugins(ctx).all(TrainerSpec)}
        rows = sorted(specs.items()) or [("(none)", "no installed plugin can train")]
        with formatter.section("Trainers"):
            formatter.write_dl(rows)


@click.command(
    "train", cls=TrainGroup, epilog=EPILOG, subcommand_metavar="NAME [FLAGS]..."
)
def command() -> None:
    """Train a classifier; its folder serves `safebench run -c NAME --model DIR`.

    Rows without a label are dropped and duplicates merged; the rest is cut into train,
    validation and test parts, never through a group of related rows.
    """


def _plugins(ctx: click.Context) -> Plugins:
    from safebench.plugins import Plugins

    return ctx.find_object(Plugins) or Plugins()


def trainer_command(spec: TrainerSpec) -> click.Command:
    """Return the command of one trainer: its own flags, then the common ones."""
    from safebench.training.config import option_flags

    trainer_flags, common = option_flags(spec), common_flags(spec)
    # click would let the later of two flags of one name win in silence
    taken = {name for flag in common for name in (flag.name, *flag.opts)}
    for flag in trainer_flags:
        if clash := taken & {flag.name, *flag.opts}:
            raise SafebenchError(
                f"trainer {spec.name!r}: its option {flag.name!r} is a flag of every "
                f"training ({', '.join(sorted(map(str, clash)))}); rename the field"
            )
    return click.Command(
        spec.name,
        params=[*trainer_flags, *common],
        callback=partial(_run_trainer, spec),
        help=f"Train {spec.name}: {spec.summary}.",
        epilog=_examples(spec),
    )


def _examples(spec: TrainerSpec) -> str:
    command = f"safebench train {spec.name} -d {spec.dataset}"
    example = f"{command} --out my-model"
    if not spec.singles:
        return f"Example: {example}"
    return f"\b\nExamples:\n  {example}\n  {command} --singles beavertails:30k_test\n"


def common_flags(spec: TrainerSpec) -> list[click.Option]:
    """Return the flags that every training takes."""
    return [*_data_flags(spec), *_work_flags(spec)]


def _data_flags(spec: TrainerSpec) -> list[click.Option]:
    """Return the flags that say which rows are learnt from."""
    rows = "pairs" if spec.pairs else "rows"
    dataset = flags.DATASET.override(
        help=f"What to learn from: {DATASET_HELP}; {_file_columns(spec)} "
        f"[default: {spec.dataset}]."
    )
    sample = flags.flag(
        "--sample",
        metavar="N|all",
        help=f"At most this many {rows}; related ones stay together "
        f"[default: {spec.sample or 'all'}].",
    )
    split = flags.flag(
        "--split",
        metavar="TRAIN/VAL/TEST",
        help="Shares of the rows [default: 70/15/15].",
    )
    return [
        flag.option()
        for flag in (
            dataset,
            *([SINGLES] if spec.singles else []),
            _evaluation_dataset("--val-dataset", "validate"),
            _evaluation_dataset("--test-dataset", "test"),
            sample,
            split,
            flags.DATA_ROOT,
            flags.LABEL_MAP,
            flags.ON_BAD_ROW,
        )
    ]


def _evaluation_dataset(name: str, verb: str) -> flags.Flag:
    return flags.flag(
        name,
        multiple=True,
        metavar=flags.DATASET_METAVAR,
        help=f"Datasets to {verb} on, instead of a share of the rows. Repeatable.",
    )


def _file_columns(spec: TrainerSpec) -> str:
    """Say which columns the trainer's files have."""
    from safebench.datasets.preference_rows import PAIR_COLUMNS, PAIR_TASK

    if spec.pairs:
        return f"a file has the columns prompt, {', '.join(PAIR_COLUMNS)}"
    judged = "prompt, response" if spec.task == PAIR_TASK else "prompt"
    return f"a file has the columns {judged} and label"


def _work_flags(spec: TrainerSpec) -> list[click.Option]:
    """Return the flags that say how to train, and where the result goes."""
    return [
        flags.SEED.override(
            help="Seed of sample, cut and learning [default: 0]."
        ).option(),
        click.Option(
            ["-o", "--out"],
            metavar="DIR",
            help=f"Folder of what is trained [default: models/{spec.name}-...].",
        ),
        click.Option(
            ["--resume"],
            is_flag=True,
            default=None,
            help="Go on with what is in the folder; what is finished is kept.",
        ),
        click.Option(
            ["--set"],
            multiple=True,
            metavar="KEY=VALUE",
            help="Any field of transformers.TrainingArguments, where it is used. "
            "Repeatable.",
        ),
        flags.CONFIG.option(),
        flags.DEBUG.option(),
    ]


def _run_trainer(
    spec: TrainerSpec, /, config_file: str | None, debug: bool, **given: Any
) -> None:
    plugins = _plugins(click.get_current_context())
    exit_after(
        lambda: execute(spec, configure(spec, config_file, given), plugins),
        debug=debug,
        interrupt_notice="interrupted: repeat the command with --resume to go on",
    )


def configure(
    spec: TrainerSpec, config_file: str | None, given: dict[str, Any]
) -> TrainConfig:
    """Turn flags as typed into a checked configuration."""
    from pathlib import Path

    from safebench.config_file import parse_key_values, parse_training_arguments
    from safebench.training.config import load_config

    typed = dict(given)
    typed["set"] = parse_training_arguments(typed["set"])
    typed["label_map"] = parse_key_values(typed["label_map"], "--label-map")
    return load_config(spec, Path(config_file) if config_file else None, typed)


def execute(spec: TrainerSpec, config: TrainConfig, plugins: Plugins) -> int:
    """Train, show the measures, and return the exit code."""
    from safebench.training.report import format_measures
    from safebench.training.session import run_training

    # In a group of processes all run this: one of them speaks.
    is_main = is_main_process()
    log: Callable[[str], None] = partial(echo, err=True) if is_main else _discard
    outcome = run_training(spec, config, plugins, log)
    if is_main:
        trained = outcome.trained
        echo(format_measures(trained.measures))
        for note in trained.notes:
            echo(note, err=True)
        echo(f"artifact: {outcome.out}")
        echo(f"next: {outcome.next_command}")
    return 1 if outcome.trained.incomplete else 0


def _discard(_: str) -> None:
    """Print nothing: the main process of the group prints it."""
