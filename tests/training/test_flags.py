"""Flags from an options dataclass, and what `--help` imports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safebench.cli.train import trainer_command
from safebench.config_file import parse_training_arguments
from safebench.errors import SafebenchError
from safebench.specs import TrainerSpec
from safebench.training.config import load_config

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from click.testing import Result

    from safebench.plugins import Plugins

HEAVY = {
    "numpy",
    "scipy",
    "sklearn",
    "datasets",
    "torch",
    "transformers",
    "rich",
    "yaml",
}
PROBE = """
import sys, runpy
sys.argv = ["safebench", *{args!r}]
try:
    runpy.run_module("safebench", run_name="__main__")
except SystemExit:
    pass
sys.stderr.write("LOADED " + " ".join(sys.modules))
"""


@pytest.fixture
def words(plugins: Plugins) -> TrainerSpec:
    """Return the spec of the test trainer."""
    return plugins.get(TrainerSpec, "words")


def test_every_field_is_a_flag_with_its_default(train: Callable[..., Result]) -> None:
    """Dashes for underscores, both forms of a switch, choices, lists, help texts."""
    shown = " ".join(train("words", "--help").stdout.split())

    assert "--members INTEGER Centroids in the ensemble [default: 2]." in shown
    assert "--smoothing NUMBER Added to every count [default: 0.5]." in shown
    assert "--weighting count|binary [default: count]." in shown
    assert "--casefold / --no-casefold Fold upper case [default: casefold]." in shown
    assert "--stop-words TEXT,... Words to skip." in shown
    assert "--buckets INTEGER Hash buckets." in shown
    assert "Example: safebench train words" in shown


def test_help_names_the_trainers(train: Callable[..., Result]) -> None:
    """`train --help` lists names and summaries."""
    shown = train("-h").stdout

    assert "words       nearest centroid of hashed words" in shown
    assert "Examples:" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "modules"),
    [
        (["--help"], {"word_trainer.plugin"}),
        (["train", "--help"], {"word_trainer.plugin"}),
        (["train", "words", "--help"], {"word_trainer.plugin", "word_trainer.options"}),
    ],
)
def test_help_imports_nothing_heavy(
    install: Callable[..., Any], args: list[str], modules: set[str]
) -> None:
    """A trainer's options module is loaded for its own help alone, its code never."""
    result = install("word_trainer").python("-c", PROBE.format(args=args))

    loaded = set(result.stderr.rpartition("LOADED ")[2].split())
    assert modules == {name for name in loaded if name.startswith("word_trainer.")}
    assert set() == HEAVY & loaded


def test_lists_are_typed_as_commas_or_by_repeating(words: TrainerSpec) -> None:
    """Both forms, and both together."""
    config = load_config(words, None, {"stop_words": ("a,b", "c")})

    assert ["a", "b", "c"] == config.options["stop_words"]


def test_training_arguments_are_yaml_scalars() -> None:
    """Numbers in either notation, booleans, null, lists, and words."""
    arguments = parse_training_arguments(
        ("lr=1e-5", "wd=0.1", "n=3", "bf16=true", "x=null", "o=adamw", "l=[1, 2]")
    )

    assert {
        "lr": 1e-5,
        "wd": 0.1,
        "n": 3,
        "bf16": True,
        "x": None,
        "o": "adamw",
        "l": [1, 2],
    } == arguments


def test_a_field_that_hides_a_common_flag_is_refused(words: TrainerSpec) -> None:
    """The author is told which field to rename."""
    spec = replace(words, options="safebench.training.config:TrainConfig")

    with pytest.raises(SafebenchError, match="its option 'dataset' is a flag of every"):
        trainer_command(spec)


def test_a_trainer_without_options_has_the_common_flags(words: TrainerSpec) -> None:
    """Nothing is imported for it."""
    names = {flag.name for flag in trainer_command(replace(words, options="")).params}

    assert {"dataset", "sample", "split", "seed", "out", "resume", "set"} < names
    assert "members" not in names
