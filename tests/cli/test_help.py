"""What `--help` says: every command alike, every option explained, an example each."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from safebench.cli import SuggestingGroup, cli
from safebench.cli.execution import debug_tracebacks
from safebench.errors import OptionError
from safebench.plugins import ENTRY_POINT_GROUP, Plugins

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = [
    "analyze",
    "compare",
    "power",
    "doctor",
    "drift",
    "gate",
    "leaderboard",
    "list",
    "list-plugins",
    "matrix",
    "overlap",
    "run",
    "score",
    "serve",
    "train",
]


def own_options() -> Iterator[tuple[str, click.Option]]:
    """Yield every option of the core's commands, with its command."""
    for name in OWN:
        for option in cli.commands[name].params:
            if isinstance(option, click.Option):
                yield name, option


@pytest.mark.parametrize("name", OWN)
def test_every_command_has_a_summary_and_an_example(name: str) -> None:
    """The example is one that the command line understands as that command."""
    command = cli.commands[name]

    shown = CliRunner().invoke(cli, [name, "--help"], obj=Plugins()).stdout

    assert command.help
    assert "Example" in shown
    assert f"safebench {name}" in shown.rpartition("Example")[2]
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_every_option_is_explained_in_a_sentence() -> None:
    """It starts with a capital (or a value's own name) and ends with a full stop."""
    unexplained = [
        (c, o.name) for c, o in own_options() if not (o.help or "").endswith(".")
    ]

    assert [] == unexplained


def test_an_option_is_called_the_same_everywhere() -> None:
    """A long name has one short name, and a short name one long name."""
    short_names: dict[str, set[str]] = {}
    for _, option in own_options():
        short, long = (
            next((o for o in option.opts if o.startswith("--") == is_long), "")
            for is_long in (False, True)
        )
        short_names.setdefault(long, set()).add(short)

    assert {} == {name: short for name, short in short_names.items() if len(short) > 1}
    given = [short for names in short_names.values() for short in names if short]
    assert len(set(given)) == len(given)


def test_the_first_help_says_what_the_words_mean() -> None:
    """Classifier, strategy and dataset are explained before any is asked for."""
    shown = " ".join(CliRunner().invoke(cli, ["--help"]).stdout.split())

    assert "A classifier judges prompts or responses" in shown
    assert "a strategy reads a score" in shown
    assert "safebench list classifiers" in shown


def test_the_first_help_shows_every_summary_whole() -> None:
    """Each command once, under a title, with its whole first sentence."""
    shown = CliRunner().invoke(cli, ["--help"], obj=Plugins()).stdout
    flat = " ".join(shown.split())

    assert "..." not in shown.partition("Run and compare:")[2]
    assert all(len(line) <= 80 for line in shown.splitlines())
    for name in OWN:
        first = " ".join((cli.commands[name].help or "").partition("\n\n")[0].split())
        assert 1 == flat.count(f" {name} {first}"), name
    titles = ["Run and compare:", "Ask:", "Train:", "What there is:"]
    assert titles == [line for line in shown.splitlines() if line in titles]


def test_a_command_of_a_plugin_has_a_place_of_its_own() -> None:
    """What plugins add is listed apart, and nothing is left out."""
    group = SuggestingGroup(
        "g", commands={"extra": click.Command("extra", help="More.")}
    )

    shown = CliRunner().invoke(group, ["--help"]).stdout

    assert "Of plugins:\n  extra  More." in shown


def test_list_alone_names_everything() -> None:
    """One line a kind; as JSON, too."""
    core = Plugins([EntryPoint("core", "safebench.core_plugin", ENTRY_POINT_GROUP)])

    text = CliRunner().invoke(cli, ["list"], obj=core)
    as_json = CliRunner().invoke(cli, ["list", "--json"], obj=core)

    assert 0 == text.exit_code
    assert "classifiers: keyword" in text.stdout.splitlines()
    names_by_kind = {
        r["kind"]: r["names"] for r in map(json.loads, as_json.stdout.splitlines())
    }
    assert ["keyword"] == names_by_kind["classifiers"]
    assert "xstest" in names_by_kind["datasets"]
    assert [] == names_by_kind["trainers"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["list", "strategis"], "did you mean 'strategies'?"),
        (["list", "classifier"], "did you mean 'classifiers'?"),
        (["run", "--on-bad-row", "skp"], "did you mean 'skip'?"),
        (["run", "--predictions", "parket"], "did you mean 'parquet'?"),
        (["run", "--classifer", "x"], "Did you mean '--classifier'?"),
        (["compare", "a", "b", "--format", "jsno"], "did you mean 'json'?"),
        (["scroe", "x"], "did you mean 'score'?"),
        (["trane"], "did you mean 'train'?"),
        (["overlap", "xtest", "starter"], "did you mean 'xstest'?"),
        (["doctor", "-c", "keywrd"], "did you mean 'keyword'?"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_right_one(
    args: list[str], message: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands, kinds, choices, options and names alike; exit code 2."""
    monkeypatch.chdir(str(tmp_path))
    core = EntryPoint("core", "safebench.core_plugin", ENTRY_POINT_GROUP)

    result = CliRunner().invoke(cli, args, obj=Plugins([core]))

    assert 2 == result.exit_code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_without_debug_a_mistake_stays_a_message() -> None:
    """With it, the traceback is let out behind the mistake."""
    with pytest.raises(OptionError, match="wrong"), debug_tracebacks(debug=False):
        raise OptionError("wrong")

    with pytest.raises(RuntimeError) as caught, debug_tracebacks(debug=True):
        raise OptionError("wrong")
    assert isinstance(caught.value.__cause__, OptionError)
