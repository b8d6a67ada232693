"""What a classifier answers may depend on its options: known before a model loads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench import Capabilities, ClassifierSpec, GuardProfile, hookimpl
from safebench.cli import cli
from safebench.errors import IncompatibleError, ModelError, PluginError
from safebench.evidence import Scores
from safebench.pipeline.config import RunConfig, parse_component_ref
from safebench.pipeline.grid import build_grid
from safebench.plugins import ENTRY_POINT_GROUP, Plugins
from safebench.score.conversation import from_text

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`answers`: the task; `level`: where the guard decides, as its authors say."""

    answers: str = "injection"
    level: float | None = 0.2


def capabilities(options: Options) -> Any:
    """Return what the options say, or something that is none."""
    if options.answers == "nothing":
        return None
    known = ("injection", "jailbreak")
    unsettled = options.answers in ("ask", "away", "broken")
    return Capabilities(
        tasks=frozenset(known if unsettled else {options.answers}),
        policy="llama-guard-3",
        threshold=options.level,
    )


def settle(options: Options, stored: Any) -> Any:
    """Return what a service would say, where it is there; nothing is stored here."""
    assert [] == stored
    if options.answers == "away":
        raise ModelError("many: nothing answers")
    if options.answers == "broken":
        raise ValueError("a fault of the plugin")
    if options.answers == "ask":
        return replace(options, answers="jailbreak"), {"host": "a"}
    return options, {}


def profiles() -> list[Any]:
    """Return the guards known by name."""
    return [
        GuardProfile(
            name=name,
            summary="a guard",
            command=f"-c many --set answers={name}",
            tasks=(name,),
            answer="a score",
        )
        for name in ("jailbreak", "injection")
    ]


SPEC = ClassifierSpec(
    name="many",
    load=f"{__name__}:never_loaded",
    options=f"{__name__}:Options",
    provides=frozenset({Scores}),
    tasks=frozenset({"injection", "jailbreak"}),
    capabilities=f"{__name__}:capabilities",
    profiles=f"{__name__}:profiles",
    settle=f"{__name__}:settle",
)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return the core's components and the guard of many tasks."""
    module = ModuleType("guard_of_many_tasks")
    module.safebench_classifiers = hookimpl(  # type: ignore[attr-defined]
        specname="safebench_classifiers"
    )(lambda: [SPEC])
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    core = EntryPoint("core", "safebench.core_plugin", ENTRY_POINT_GROUP)
    many = EntryPoint("many", module.__name__, ENTRY_POINT_GROUP)
    return Plugins([core, many])


def resolve(plugins: Plugins, classifier: str, strategy: str = "score") -> Any:
    """Return the one classifier of a grid."""
    config = RunConfig(
        classifiers=(parse_component_ref(classifier),),
        strategies=(parse_component_ref(strategy),),
    )
    return build_grid(config, plugins).classifiers[0]


def test_what_a_service_says_is_part_of_the_options(plugins: Plugins) -> None:
    """Asked before anything loads; stored evidence must have the facts that it told."""
    asked = resolve(plugins, "many,answers=ask")
    known = resolve(plugins, "many,answers=jailbreak")

    assert {"jailbreak"} == asked.tasks
    assert (known.request, {"host": "a"}) == (asked.request, asked.known_facts)
    assert {} == known.known_facts


@pytest.mark.parametrize(
    ("answers", "message"),
    [("away", "nothing answers"), ("broken", "a fault of the plugin")],
)
def test_what_a_service_refuses_ends_the_run(
    plugins: Plugins, answers: str, message: str
) -> None:
    """Beside others, too: the folder is of all of them."""
    many, keyword = (
        parse_component_ref(text) for text in (f"many,answers={answers}", "keyword")
    )

    for classifiers in ((many,), (many, keyword)):
        with pytest.raises((ModelError, PluginError), match=message):
            build_grid(RunConfig(classifiers=classifiers), plugins, go_on=True)


def test_options_say_what_is_answered(plugins: Plugins) -> None:
    """Tasks, policy and threshold are those of the options, not of the spec."""
    one, other = resolve(plugins, "many"), resolve(plugins, "many,answers=jailbreak")

    assert ({"injection"}, {"jailbreak"}) == (one.tasks, other.tasks)
    assert "llama-guard-3" == one.policy
    conversation = from_text("hello")
    assert "injection" == conversation.to_sample(one, "injection").task
    assert "jailbreak" == conversation.to_sample(other).task
    with pytest.raises(IncompatibleError, match="many answers injection"):
        conversation.to_sample(one, "jailbreak")


@pytest.mark.parametrize(
    ("classifier", "strategy", "threshold"),
    [
        ("many", "score", 0.2),
        ("many,level=0.7", "score", 0.7),
        ("many,level=none", "score", 0.5),
        # a threshold that equals the strategy's own is the user's all the same
        ("many", "score,threshold=0.5", 0.5),
    ],
)
def test_the_guards_threshold_is_the_default(
    plugins: Plugins, classifier: str, strategy: str, threshold: float
) -> None:
    """It takes the place of the strategy's; what the user says stands over both."""
    chosen = resolve(plugins, classifier, strategy)

    assert threshold == chosen.strategies[0].threshold


@pytest.mark.parametrize("answers", ["nothing", "refusal"])
def test_capabilities_that_are_none_are_the_plugins_fault(
    plugins: Plugins, answers: str
) -> None:
    """Another type, or a task that the spec does not list, names the plugin."""
    with pytest.raises(PluginError, match=r"classifier 'many'.*capabilities"):
        resolve(plugins, f"many,answers={answers}")


def test_data_of_another_task_is_refused_before_loading(
    plugins: Plugins, tmp_path: Path
) -> None:
    """The class does not even exist, and the message is about the task."""
    data = tmp_path / "d.jsonl"
    data.write_text('{"prompt": "a", "label": 1}\n{"prompt": "b", "label": 0}\n')
    run = ["run", "-c", "many", "-d", f"{data},task=jailbreak"]

    result = CliRunner().invoke(cli, [*run, "--out", str(tmp_path / "r")], obj=plugins)

    assert 2 == result.exit_code
    assert "no classifier answers the task jailbreak" in result.output
    assert "many answers injection (with other options jailbreak)\n" in result.output


def test_guards_known_by_name_are_listed(plugins: Plugins) -> None:
    """A line each, in the order of their names; a letter for each task."""
    listed = CliRunner().invoke(cli, ["list", "guards"], obj=plugins)
    lines = CliRunner().invoke(cli, ["list", "guards", "--json"], obj=plugins)

    assert 0 == listed.exit_code, listed.output
    rows = [
        line.split()
        for line in listed.stdout.splitlines()
        if line[:2] == "  " != line[1:3]
    ]
    assert [["injection", "...I.."], ["jailbreak", "....J."]] == [r[:2] for r in rows]
    assert all(len(line) <= 80 for line in listed.stdout.splitlines())
    assert 2 == len(lines.stdout.splitlines())
    assert '"classifier": "many"' in lines.stdout


def test_one_guard_is_shown_whole_by_its_name(plugins: Plugins) -> None:
    """With the command that runs it; a wrong name is answered with the nearest."""
    one = CliRunner().invoke(cli, ["list", "guards", "jailbreak"], obj=plugins)
    wrong = CliRunner().invoke(cli, ["list", "guards", "jailbrake"], obj=plugins)

    assert one.stdout.startswith("jailbreak  (many)\n")
    assert "  command: -c many --set answers=jailbreak\n" in one.stdout
    assert "injection" not in one.stdout
    assert 2 == wrong.exit_code
    assert "no guard 'jailbrake'; did you mean 'jailbreak'?" in wrong.output


def test_a_classifier_whose_profiles_fail_hides_no_other(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named on standard error, and the exit code says so."""
    monkeypatch.setattr(f"{__name__}.profiles", lambda: ["sharp"])

    result = CliRunner().invoke(cli, ["list", "guards"], obj=plugins)

    assert 1 == result.exit_code
    assert "classifier 'many'" in result.stderr
    assert "no GuardProfile" in result.stderr or "not a GuardProfile" in result.stderr
