"""`train NAME`: a command for every installed trainer, its flags from its options."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from safebench.errors import SafebenchError
from safebench.specs import TrainerSpec

from . import flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.plugins import Plugins
    from safebench.training.config import TrainConfig

DATASETS = (
    "datasets by name (see `safebench list datasets`), or .jsonl or .csv files. "
    "Repeatable; without a split, the training split is read"
)
EITHER: dict[str, Any] = {"multiple": True, "metavar": flags.SET}
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
    from safebench.training.flags import option_flags

    own, common = option_flags(spec), common_flags(spec)
    taken = {name for flag in common for name in (flag.name, *flag.opts)}
    for flag in own:
        if clash := taken & {flag.name, *flag.opts}:
            raise SafebenchError(
                f"trainer {spec.name!r}: its option {flag.name!r} is a flag of every "
                f"training ({', '.join(sorted(map(str, clash)))}); rename the field"
            )
    return click.Command(
        spec.name,
        params=[*own, *common],
        callback=partial(_start, spec),
        help=f"Train {spec.name}: {spec.summary}.",
        epilog=f"Example: safebench train {spec.name} -d {spec.dataset} --out my-model",
    )


def common_flags(spec: TrainerSpec) -> list[click.Option]:
    """Return the flags that every training takes."""
    return [*_data_flags(spec), *_work_flags(spec)]


def _data_flags(spec: TrainerSpec) -> list[click.Option]:
    """Return the flags that say which rows are learnt from."""
    each = "pairs" if spec.pairs else "rows"
    sample = spec.sample or "all"
    either = "Datasets to {} on, instead of a share of the rows. Repeatable."
    dataset = flags.DATASET.but(
        help=f"What to learn from: {DATASETS}; {_columns(spec)} "
        f"[default: {spec.dataset}]."
    )
    own = [
        click.Option(
            ["--sample"],
            metavar="N|all",
            help=f"At most this many {each}; related ones stay together "
            f"[default: {sample}].",
        ),
        click.Option(
            ["--split"],
            metavar="TRAIN/VAL/TEST",
            help="Shares of the rows [default: 70/15/15].",
        ),
    ]
    return [
        dataset.option(),
        flags.flag("--val-dataset", **EITHER, help=either.format("validate")).option(),
        flags.flag("--test-dataset", **EITHER, help=either.format("test")).option(),
        *own,
        flags.DATA_ROOT.option(),
        flags.LABEL_MAP.option(),
        flags.ON_BAD_ROW.option(),
    ]


def _columns(spec: TrainerSpec) -> str:
    """Say which columns the trainer's files have."""
    from safebench.datasets.pair_rows import COLUMNS, TASK

    if spec.pairs:
        return f"a file has the columns prompt, {', '.join(COLUMNS)}"
    judged = "prompt, response" if spec.task == TASK else "prompt"
    return f"a file has the columns {judged} and label"


def _work_flags(spec: TrainerSpec) -> list[click.Option]:
    """Return the flags that say how, and what becomes of it."""
    return [
        flags.SEED.but(help="Seed of sample, cut and learning [default: 0].").option(),
        click.Option(
            ["--out"],
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


def _start(
    spec: TrainerSpec, /, config_file: str | None, debug: bool, **given: Any
) -> None:
    plugins = _plugins(click.get_current_context())
    try:
        with flags.mistakes_shown(debug):
            code = execute(spec, configure(spec, config_file, given), plugins)
    except KeyboardInterrupt:
        click.echo("\ninterrupted: repeat the command with --resume to go on", err=True)
        code = 130
    sys.exit(code)


def configure(
    spec: TrainerSpec, config_file: str | None, given: dict[str, Any]
) -> TrainConfig:
    """Turn flags as typed into a checked configuration."""
    from pathlib import Path

    from safebench.run.terms import parse_pairs
    from safebench.training.config import load_config, parse_settings

    typed = dict(given)
    typed["set"] = parse_settings(typed["set"])
    typed["label_map"] = parse_pairs(list(typed["label_map"]), "--label-map")
    return load_config(spec, Path(config_file) if config_file else None, typed)


def execute(spec: TrainerSpec, config: TrainConfig, plugins: Plugins) -> int:
    """Train, show the measures, and return the exit code."""
    from safebench.training.process import is_main_process
    from safebench.training.report import measures_text
    from safebench.training.session import run_training

    main = is_main_process()
    say: Callable[[str], None] = partial(click.echo, err=True) if main else _hush
    outcome = run_training(spec, config, plugins, say)
    if main:
        trained = outcome.trained
        click.echo(measures_text(trained.measures))
        for note in trained.notes:
            click.echo(note, err=True)
        click.echo(f"artifact: {outcome.out}")
        click.echo(f"next: {outcome.next}")
    return 1 if outcome.trained.short else 0


def _hush(_: str) -> None:
    """Say nothing: another process of the group speaks."""
