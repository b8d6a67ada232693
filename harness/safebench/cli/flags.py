"""Options that several commands take: each is named and explained once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from safebench.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


@dataclass(frozen=True, slots=True)
class Flag:
    """An option that is not yet part of a command; as a decorator it is added."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]

    def __call__(self, command: Command) -> Command:
        """Add the option to a command."""
        return click.option(*self.names, **self.settings)(command)

    def option(self) -> click.Option:
        """Return the option itself, for commands that are put together."""
        return click.Option([*self.names], **self.settings)

    def override(self, **settings: Any) -> Flag:
        """Return it with some settings changed, such as its help."""
        return replace(self, settings={**self.settings, **settings})

    def with_parameter(self, parameter: str) -> Flag:
        """Return it under another name of the parameter."""
        return replace(self, names=(*self.names, parameter))


class Choice(click.Choice[str]):
    """One of some words; another one is answered with the nearest."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the word, or fail with exit code 2 and a suggestion."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            hint = did_you_mean(str(value), map(str, self.choices))
            self.fail(error.message.rstrip(".") + hint, param, ctx)


class Number(click.ParamType[float]):
    """A finite number above 0, and below `limit` if there is one."""

    name = "number"

    def __init__(self, limit: float = math.inf) -> None:
        """Take numbers up to a limit, which is none of them."""
        self.limit = limit

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail with exit code 2."""
        try:
            number = float(value)
        except ValueError:
            # No number at all fails the test below, as NaN does.
            number = math.nan
        if not 0 < number < self.limit:
            most = f" and below {self.limit:g}" if math.isfinite(self.limit) else ""
            self.fail(f"{value!r} is no number above 0{most}", param, ctx)
        return number


class Finite(click.ParamType[float]):
    """A finite number: scores are compared with it, and NaN is neither side of any."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail with exit code 2."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number


POSITIVE = Number()
SHARE = Number(1)
COST = Number(1e12)  # products of two costs must not overflow
FINITE = Finite()


def flag(*names: str, **settings: Any) -> Flag:
    """Return what `click.option` would make of the same arguments."""
    return Flag(names, settings)


COMPONENT_METAVAR = "[LABEL=]NAME[,key=value...]"
DATASET_METAVAR = "NAME[:CONFIG][:SPLIT]"

CLASSIFIER = flag(
    "-c", "--classifier", metavar="NAME[,key=value...]", help="The classifier."
)
CLASSIFIERS = flag(
    "-c", "--classifier", "classifiers", multiple=True, metavar=COMPONENT_METAVAR,
    help="Who judges; see `safebench list classifiers`. Repeatable.",
)  # fmt: skip
STRATEGIES = flag(
    "-s", "--strategy", "strategies", multiple=True, metavar=COMPONENT_METAVAR,
    help="How a score is read from what the classifier records, or all; see "
    "`safebench list strategies`. Repeatable [default: the classifier's own].",
)  # fmt: skip
DATASET_HELP = (
    "A dataset by name (see `safebench list datasets`), or a file: .jsonl, .json, "
    ".csv, .tsv or .parquet."
)
DATASET = flag(
    "-d",
    "--dataset",
    multiple=True,
    metavar=DATASET_METAVAR,
    help=f"{DATASET_HELP} Repeatable.",
)
MODEL = flag(
    "--model", metavar="ID|DIR",
    help="The classifier's model: its id on the Hugging Face hub, or a folder.",
)  # fmt: skip
SETS = flag(
    "--set", "sets", multiple=True, metavar="[LABEL.]KEY=VALUE",
    help="An option of a classifier or strategy. Repeatable.",
)  # fmt: skip
DATA_ROOT = flag(
    "--data-root", metavar="DIR", envvar="SAFEBENCH_DATA", show_envvar=True,
    help="Read hub datasets from DIR/ORG/NAME instead of the hub.",
)  # fmt: skip
REVISIONS = flag(
    "--revision", "revisions", multiple=True, metavar="[NAME=]COMMIT",
    help="Read this commit of a hub dataset [default: the catalog's]. Repeatable.",
)  # fmt: skip
STRICT_DATA = flag(
    "--strict-data", is_flag=True, default=None,
    help="Refuse hub datasets without a commit, and any other number of rows than the "
    "catalog's.",
)  # fmt: skip
LABEL_MAP = flag(
    "--label-map", multiple=True, metavar="WORD=safe|unsafe",
    help="What a label word of a file means. Repeatable.",
)  # fmt: skip
ON_BAD_ROW = flag(
    "--on-bad-row", type=Choice(["fail", "skip"]),
    help="Stop at rows that cannot be read, or leave them out [default: fail].",
)  # fmt: skip
OPERATING_POINT = flag(
    "--operating-point", metavar="FILE",
    help="Judge by the operating point of a file that `safebench threshold --save` "
    "wrote: its guard, its strategy, its thresholds.",
)  # fmt: skip
EXECUTOR = flag(
    "--executor",
    metavar="NAME[,KEY=VALUE]...",
    help="Where evidence is recorded; see `safebench list executors` [default: local].",
)
WORKERS = flag(
    "--workers",
    type=int,
    metavar="N",
    help="How many workers the executor has; each loads the model.",
)
ADDRESS = flag(
    "--address",
    metavar="ADDR",
    help="The cluster that the executor joins, such as HOST:PORT or auto.",
)
GPUS_PER_WORKER = flag(
    "--gpus-per-worker",
    type=float,
    metavar="N",
    help="GPUs of each worker [default: 1 where there are GPUs].",
)
SEED = flag("--seed", type=int)
CONFIG = flag(
    "--config", "config_file", metavar="FILE.yaml",
    help="The same options as a YAML file; those typed here win.",
)  # fmt: skip
DEBUG = flag("--debug", is_flag=True, help="Show the traceback of a mistake.")
JSON = flag("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
METRICS = flag("--metrics", metavar="NAME,...")
OF = flag("--of", metavar="CLASSIFIER/STRATEGY", default="")
SETS_OF_RUN = flag(
    "-d", "--dataset", "datasets", multiple=True, metavar="NAME",
    help="A set of the run. Repeatable [default: all].",
)  # fmt: skip
ONLY_DATASETS = DATASET.with_parameter("datasets").override(
    metavar="NAME", help="Only this dataset, NAME or NAME:CONFIG:SPLIT; repeatable."
)
TOP = flag("--top", type=click.IntRange(min=0), default=10, show_default=True)
SLICES = flag("--slice", "--by", "columns", multiple=True, metavar="COLUMN")
GAPS = flag("--gaps", is_flag=True)
LABELS = flag("--labels", type=Choice(["stored", "reviewed"]), default="stored")
ALPHA = flag(
    "--alpha", type=SHARE, metavar="P", default=0.05, show_default=True
)  # fmt: skip


def only(command: Command) -> Command:
    """Add the options that choose classifiers, strategies and datasets of runs."""
    classifiers = CLASSIFIERS.override(
        metavar="NAME", help="Only this classifier, by its label; repeatable."
    )
    strategies = STRATEGIES.override(
        metavar="NAME", help="Only this strategy, by its label; repeatable."
    )
    return classifiers(strategies(ONLY_DATASETS(command)))


def printed(*forms: str) -> Flag:
    """Return ``--format`` for what is printed; the first is the default."""
    return flag(
        "--format", "form", type=Choice(forms), default=forms[0],
        help=f"What to print [default: {forms[0]}].",
    )  # fmt: skip


def split_names(text: str | None) -> list[str]:
    """Return the names in ``a,b,c``; none for an option that was not given."""
    names = [name.strip() for name in (text or "").split(",")]
    return [name for name in names if name]
