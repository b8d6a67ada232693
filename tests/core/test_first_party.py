"""Which package brings a component that is not installed."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.first_party import PACKAGES
from safebench.plugins import ENTRY_POINT_GROUP, Plugin, Plugins
from safebench.specs import ClassifierSpec

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def core() -> Plugins:
    """Return what `pip install safebench` alone brings."""
    return Plugins([EntryPoint("core", "safebench.core_plugin", ENTRY_POINT_GROUP)])


def declared(plugin: Plugin) -> dict[str, set[str]]:
    """Return the names that a plugin declares, by kind."""
    names: dict[str, set[str]] = {}
    for component in plugin.components:
        aliases = component.aliases if isinstance(component, ClassifierSpec) else ()
        names.setdefault(component.kind, set()).update((component.name, *aliases))
    for command in plugin.commands:
        names.setdefault("command", set()).add(command)
    return names


def test_table_holds_what_the_plugins_declare() -> None:
    """A component that is added to a plugin has to be added to the table."""
    plugins = Plugins(entry_points(group=ENTRY_POINT_GROUP))
    group = type(cli)()
    plugins.add_commands(group)
    ours = {plugin.distribution: declared(plugin) for plugin in plugins}
    ours = {name: kinds for name, kinds in ours.items() if name != "safebench"}

    assert ours == {
        package.distribution: {k: set(v) for k, v in package.names.items()}
        for package in PACKAGES
    }


def test_every_plugin_has_an_extra() -> None:
    """The install line works, and `all` brings every plugin of this project."""
    projects = [
        tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for path in ROOT.glob("plugins/*/pyproject.toml")
    ]
    core = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = core["project"]["optional-dependencies"]

    assert {p["name"] for p in projects} == {p.distribution for p in PACKAGES}
    for package in PACKAGES:
        (requirement,) = extras[package.extra]
        # an extra of a plugin, as ray's own package, is too large for everybody
        name, _, of_plugin = requirement.partition(">")[0].partition("[")
        assert package.distribution == name
        assert (
            requirement.replace(f"[{of_plugin}" * bool(of_plugin), "") in extras["all"]
        )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "-c", "llamaguard"], "safebench[llamaguard]"),
        (["run", "-c", "guard,model=DIR"], "safebench[llamaguard]"),
        (["run", "-c", "LlamaGuard"], "safebench[llamaguard]"),
        (["run", "-c", "llamagaurd"], "did you mean 'llamaguard'?"),
        (["run", "-c", "keyword", "-s", "mean_probs"], "safebench[bert-ensemble]"),
        (["score", "-c", "cost_model", "hello"], "safebench[cost-model]"),
        (["serve", "-c", "openai_moderation"], "safebench[any-guardrail]"),
        (["list", "classifiers", "tfidf"], "safebench[bert-ensemble]"),
        (["train", "cost_model"], "safebench[cost-model]"),
        (["doctor", "-c", "llamaguard"], "safebench[llamaguard]"),
        (["feedback", "train"], "safebench[feedback-finetune]"),
    ],
)
def test_a_missing_package_is_named(
    core: Plugins, words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a name is asked for, with the line that installs it."""
    for package in PACKAGES:  # which other tests of this process may have added
        for command in package.names.get("command", ()):
            monkeypatch.delitem(cli.commands, command, raising=False)
    result = CliRunner().invoke(cli, words, obj=core)

    assert 2 == result.exit_code
    assert expected in result.stderr
    assert "pip install 'safebench[" in result.stderr


@pytest.mark.parametrize(
    ("name", "expected"), [("keywrod", "did you mean 'keyword'?"), ("zzz", "there is")]
)
def test_no_package_is_named_for_other_names(
    core: Plugins, name: str, expected: str
) -> None:
    """A misspelt name of what is installed, and one that is like nothing."""
    result = CliRunner().invoke(cli, ["run", "-c", name], obj=core)

    assert expected in result.stderr
    assert "pip install" not in result.stderr


def test_list_ends_with_what_is_not_installed(core: Plugins) -> None:
    """Beside the lines of what is there, which scripts read."""
    result = CliRunner().invoke(cli, ["list", "classifiers"], obj=core)

    assert "pip install" not in result.stdout
    assert "not installed: llamaguard, guard\n" in result.stderr
    assert "  pip install 'safebench[llamaguard]'" in result.stderr


def test_a_list_of_words_says_so_where_it_is_the_default(core: Plugins) -> None:
    """Whoever names no classifier learns how to get a model; who names one does not."""
    unnamed = CliRunner().invoke(cli, ["score", "hello"], obj=core)
    named = CliRunner().invoke(cli, ["score", "-c", "keyword", "hello"], obj=core)

    assert 0 == unnamed.exit_code
    assert "safebench[llamaguard]" in unnamed.stderr
    assert "" == named.stderr


def test_a_broken_plugin_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package is not named: to install it again would mend nothing."""
    (found,) = entry_points(group=ENTRY_POINT_GROUP, name="llamaguard_marginal")
    core = EntryPoint("core", "safebench.core_plugin", ENTRY_POINT_GROUP)
    monkeypatch.setattr(EntryPoint, "load", _load_all_but(found))
    plugins = Plugins([core, found])

    result = CliRunner().invoke(cli, ["run", "-c", "llamaguard"], obj=plugins)

    assert [found.name] == [plugin.name for plugin in plugins.broken]
    assert "unknown classifier 'llamaguard'" in result.stderr
    assert "pip install" not in result.stderr


def _load_all_but(broken: EntryPoint) -> Callable[[EntryPoint], Any]:
    load = EntryPoint.load

    def fail_for_one(entry_point: EntryPoint) -> Any:
        if entry_point.value == broken.value:
            raise ImportError("as a library that is missing")
        return load(entry_point)

    return fail_for_one
