"""The grid of what goes together, compared with what a run does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench import Capabilities, ClassifierSpec, StrategySpec, hookimpl
from safebench.classifiers import Classifier, Recording, Trace
from safebench.cli import cli
from safebench.evidence import Cost, Scores
from safebench.plugins import ENTRY_POINT_GROUP, Plugins

if TYPE_CHECKING:
    from click.testing import Result


@dataclass(frozen=True)
class Options:
    """`answers`: the one task; without it nothing is known."""

    answers: str = ""


def capabilities(options: Options) -> Capabilities:
    """Return the task of the options, or fail as one without a model would."""
    if not options.answers:
        raise ValueError("answers=TASK is needed")
    return Capabilities(tasks=frozenset({options.answers}))


class Half(Classifier):
    """Scores everything by one half."""

    def record(self, samples: Any, kinds: Any, on_progress: Any) -> Recording:
        """Return one half a sample."""
        meta = {"labels": ["x"], "scale": "probability"}
        scores = Scores({"values": [[0.5]] * len(samples)}, meta=meta)
        on_progress(len(samples))
        return Recording(evidence={Scores: scores}, traces=[Trace() for _ in samples])


TASKS = frozenset({"injection", "jailbreak", "refusal"})
SPECS = [
    ClassifierSpec(
        name="pliable",
        load=f"{__name__}:Half",
        options=f"{__name__}:Options",
        capabilities=f"{__name__}:capabilities",
        provides=frozenset({Scores}),
        tasks=TASKS,
    ),
    ClassifierSpec(
        name="fixed",
        load=f"{__name__}:Half",
        provides=frozenset({Scores}),
        tasks=frozenset({"groundedness"}),
    ),
    *(
        ClassifierSpec(name=f"dear_{i}", load="a:b", provides=frozenset({Cost}))
        for i in range(11)
    ),
]
FRUGAL = StrategySpec(name="frugal", load="a:b", needs=frozenset({Cost}))


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return the core's components and thirteen guards."""
    module = ModuleType("guards_for_a_grid")
    for name, made in (("classifiers", SPECS), ("strategies", [FRUGAL])):
        hook = hookimpl(specname=f"safebench_{name}")(lambda made=made: made)
        setattr(module, f"safebench_{name}", hook)
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    (core,) = entry_points(group=ENTRY_POINT_GROUP, name="core")
    grid = EntryPoint("grid", module.__name__, ENTRY_POINT_GROUP)
    return Plugins([core, grid])


def matrix(plugins: Plugins, *words: str) -> Result:
    """Show the grid, or a part of it."""
    return CliRunner().invoke(cli, ["matrix", *words], obj=plugins)


def cells(text: str) -> dict[str, list[str]]:
    """Return the marks of each line of the tables, by the name in front."""
    rows: dict[str, list[str]] = {}
    read = {"\u2713": "yes", "o": "opt", "\u00b7": "-"}
    for line in text.splitlines():
        name, marks = line[:36].strip(), line[36:].split()
        if marks and set(marks) <= read.keys():
            rows.setdefault(name, []).extend(read[mark] for mark in marks)
    return rows


def test_all_of_it_fits_in_eighty_columns(plugins: Plugins) -> None:
    """More classifiers than have room in one table; sets together, by task."""
    result = matrix(plugins)

    assert 0 == result.exit_code, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    rows = cells(result.output)
    # dear_0 ... dear_10, fixed, keyword, pliable: by name
    dear = ["-"] * 11
    assert [*["yes"] * 11, "-", "-", "-"] == rows["frugal"]
    assert [*dear, "yes", "yes", "yes"] == rows["score"]
    by_task = {name.partition(" (")[0]: marks for name, marks in rows.items()}
    assert [*dear, "yes", "-", "-"] == by_task["groundedness"]
    assert [*dear, "-", "-", "opt"] == by_task["injection"]
    assert [*["yes"] * 11, "-", "yes", "-"] == by_task["prompt_harm"]


def test_the_columns_of_a_table_have_room_in_eighty(plugins: Plugins) -> None:
    """A fifteenth classifier begins another table."""
    columns = [word for i in range(15) for word in ("-c", f"c{i}=keyword")]

    result = matrix(plugins, *columns, "-s", "score", "-d", "starter")

    assert 2 == result.output.count("strategy  "), result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert ["yes"] * 15 == cells(result.output)["starter"]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ["keyword", "score"],
            ["keyword x score: yes", "keyword answers prompt_harm, response_harm"],
        ),
        (
            ["fixed", "frugal"],
            [
                "fixed x frugal: no, frugal needs Cost",
                "  fixed records Scores",
                "  strategies for fixed: score",
                "fixed answers groundedness",
            ],
        ),
        (
            ["pliable", "score"],
            [
                "pliable answers nothing without an option",
                "  with other options refusal, injection, jailbreak",
            ],
        ),
    ],
)
def test_two_names_say_why(
    plugins: Plugins, words: list[str], lines: list[str]
) -> None:
    """Whether they go together, what else would, and for which data."""
    output = matrix(plugins, *words).output.splitlines()

    assert lines == [line for line in output if line in lines]


def test_one_name_is_a_column(plugins: Plugins) -> None:
    """As with -c."""
    assert matrix(plugins, "fixed").output == matrix(plugins, "-c", "fixed").output


def test_letters_stand_for_ticks_where_there_are_none(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that can only hold ASCII."""
    runner = CliRunner(charset="ascii")

    output = runner.invoke(cli, ["matrix", "keyword"], obj=plugins).output

    assert "score                               x" in output
    assert "?" not in output


@pytest.mark.parametrize("task", ["injection", "jailbreak", "refusal"])
def test_a_yes_is_what_runs(plugins: Plugins, task: str, tmp_path: Any) -> None:
    """For each task of the options: yes there and a run, no elsewhere and none."""
    path = tmp_path / "mine.jsonl"
    row = {"prompt": "a", "response": "b", "label": 1}
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "label": 0}) + "\n")
    for answered in sorted(TASKS):
        guard = f"g=pliable,answers={answered}"
        words = ["-c", guard, "-d", f"{path},task={task}"]

        shown = matrix(plugins, *words, "-s", "score", "--json").output
        ran = CliRunner().invoke(
            cli, ["run", *words, "--out", str(tmp_path / answered)], obj=plugins
        )

        pair, data = map(json.loads, shown.splitlines())
        assert pair["runs"]
        assert data["runs"] == (ran.exit_code == 0) == (answered == task), ran.output
        expected = None if answered == task else f"answers {answered}"
        assert expected == data["reason"]


def test_why_says_the_reasons(plugins: Plugins) -> None:
    """What is recorded and what is answered."""
    words = ["-c", "fixed", "-s", "frugal", "-d", "mine.csv,task=refusal", "--why"]

    output = matrix(plugins, *words).output

    assert "fixed x frugal: frugal needs Cost" in output
    assert "fixed x data for refusal: it answers groundedness" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-c", "pliabel"], "did you mean 'pliable'?"),
        (["-c", "pliable,answer=refusal"], "answers"),
        (["-c", "pliable,answers="], "answers=TASK is needed"),
        (["-d", "mine.jsonl"], "mine.jsonl,task=TASK"),
        (["-d", "mine.jsonl,task=refusals"], "did you mean 'refusal'?"),
        (["-d", "start"], "did you mean 'starter'?"),
        (["-s", "scores"], "did you mean 'score'?"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    plugins: Plugins, words: list[str], message: str
) -> None:
    """What, and what would work; exit code 2, or 1 for a plugin that fails."""
    result = matrix(plugins, *words)

    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output


def test_data_with_documents_is_not_for_every_guard(
    plugins: Plugins, tmp_path: Any
) -> None:
    """One that answers the task, but would see half of what is to be judged."""
    path = tmp_path / "claims.jsonl"
    rows = [{"context": "a", "claim": "x", "label": label} for label in (0, 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["-c", "fixed", "-d", f"{path},task=groundedness", "--out"]

    result = CliRunner().invoke(
        cli, ["run", *words, str(tmp_path / "run")], obj=plugins
    )

    assert 2 == result.exit_code
    assert (
        "fixed x claims.jsonl:all: its rows have documents, and the classifier reads "
        "none"
    ) in result.output
