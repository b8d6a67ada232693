"""Code of plugins that fails, or returns what it must not: one line that names it.

The distribution `rowdy` misbehaves in every place where a plugin is called.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.plugins import ENTRY_POINT_GROUP, Plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Installed

    Safebench = Callable[..., Result]

ROWDY = Path(__file__).parents[1] / "distributions" / "rowdy"
ROWS = [
    {"prompt": "abcdefg"[: i % 5 + 1] * (i + 1), "label": "unsafe" if i % 3 else "safe"}
    for i in range(40)
]
RAISED = {
    "raise": "RuntimeError: boom",
    "exit": "SystemExit: called sys.exit(0)",
    "odd": "Odd: odd one",
    "unreadable": "its message cannot be read",
    "deep": "RecursionError: ",
    "stop": "StopIteration: ",
    "system": "/nowhere/model.bin: No such file or directory",
}


@pytest.fixture
def safebench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Safebench]:
    """Return the command line with the rowdy plugin; keywords set its environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROWDY))
    lines = "\n".join(map(json.dumps, ROWS))
    (tmp_path / "forty.jsonl").write_text(lines, encoding="utf-8")
    stranger = EntryPoint("rowdy", "rowdy.plugin", ENTRY_POINT_GROUP)

    def forget() -> None:
        for name in [name for name in sys.modules if name.startswith("rowdy")]:
            del sys.modules[name]

    def run(*args: str, **env: str) -> Result:
        forget()  # it reads the environment when it is imported
        for name, value in env.items():
            monkeypatch.setenv(f"ROWDY_{name.upper()}", value)
        plugins = Plugins([*entry_points(group=ENTRY_POINT_GROUP), stranger])
        result = CliRunner().invoke(cli, args, obj=plugins)
        for name in env:
            monkeypatch.delenv(f"ROWDY_{name.upper()}")
        return result

    yield run
    forget()


def run_forty(safebench: Safebench, *args: str, **env: str) -> Result:
    """Run on the 40 rows, into the folder `out`."""
    return safebench(
        "run", "-d", "forty.jsonl", "--calibration-fraction", "0", "--out", "out",
        *args, **env,
    )  # fmt: skip


def result_rows() -> list[dict[str, Any]]:
    """Return the rows of the folder `out`."""
    text = Path("out/results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def values(**part: str) -> dict[str, Any]:
    """Return the values by metric of the rows that match."""
    return {
        row["metric"]: row["value"]
        for row in result_rows()
        if part.items() <= row.items()
    }


def assert_one_line(result: Result, *words: str) -> None:
    """Check exit code 1 and one line with the plugin, the component and the reason."""
    assert 1 == result.exit_code, result.output
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if "rror: " in line]
    assert 1 == len([line for line in lines if all(word in line for word in words)])
    assert "\x1b" not in result.output


@pytest.mark.slow
@pytest.mark.parametrize("how", RAISED)
@pytest.mark.parametrize("place", ["init", "record", "facts", "identity", "options"])
def test_a_guard_that_raises_is_named_and_the_others_go_on(
    safebench: Safebench, place: str, how: str
) -> None:
    """Its cells are null with the reason, those of the other guard are as alone."""
    result = run_forty(
        safebench, "-c", f"rowdy_guard,place={place},how={how}", "-c", "keyword"
    )

    assert_one_line(result, "'rowdy_guard' of plugin rowdy", RAISED[how])
    assert {None} == set(values(classifier="rowdy_guard").values())
    notes = {r["note"] for r in result_rows() if r["classifier"] == "rowdy_guard"}
    assert 1 == len(notes)
    assert RAISED[how] in notes.pop()
    alone = safebench(
        "run", "-d", "forty.jsonl", "--calibration-fraction", "0", "--out", "alone",
        "-c", "keyword",
    )  # fmt: skip
    assert 0 == alone.exit_code
    expected = {
        row["metric"]: row["value"]
        for row in map(json.loads, Path("alone/results.jsonl").read_text().splitlines())
    }
    assert expected == values(classifier="keyword")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "how", "reason"),
    [
        ("record", "none", "record() returned None"),
        ("record", "pair", "record() returned a tuple"),
        ("record", "generator", "traces are a generator"),
        ("record", "bad_trace", "traces[0] is a dict"),
        ("record", "bad_error", "traces[0].error is a ValueError"),
        ("record", "bad_seconds", "traces[0].seconds is nan"),
        ("record", "bad_count", "traces[0].tokens_in is -3"),
        ("record", "wrong_kind", "evidence of Scores is a ndarray"),
        ("record", "short", "broke its contract"),
        ("record", "bad_meta", "not JSON serializable"),
        ("record", "no_labels", "Scores: meta has no 'labels'"),
        ("record", "many_labels", "meta['labels'] has 2 names for 1 columns"),
        ("record", "no_scale", "meta has no 'scale'"),
        ("record", "two", "a probability of 2"),
        ("record", "minus", "a probability of -0.5"),
        ("record", "inf", "a probability of inf"),
        ("record", "complex", "an array of complex128, not of float64"),
        ("record", "texts", "an array of <U"),
        ("record", "objects", "an array of object"),
        ("record", "masked", "a masked array"),
        ("facts", "none", "facts: a NoneType"),
        ("facts", "address", "cannot be stored"),
        ("state", "list", "state: a list"),
        ("identity", "none", "identity: a NoneType"),
        ("identity", "list", "identity: a list"),
        ("identity", "text", "identity: a str"),
        ("identity", "address", "cannot be stored"),
        ("identity", "generator", "cannot be stored"),
        ("identity", "keys", "the key 1 is no text"),
        ("shard_size", "zero", "shard_size is 0"),
        ("shard_size", "none", "shard_size is None"),
        ("shard_size", "text", "shard_size is '20'"),
    ],
)
def test_what_a_guard_must_not_return_is_refused(
    safebench: Safebench, place: str, how: str, reason: str
) -> None:
    """Nothing is repaired or stored; alone, the run ends with the reason."""
    guard = f"rowdy_guard,place={place},how={how}"
    result = run_forty(safebench, "-c", guard)

    assert_one_line(result, "rowdy_guard", reason)
    assert not list(Path("out").glob("predictions/*/*/*"))


@pytest.mark.slow
def test_numbers_of_numpy_are_numbers(safebench: Safebench) -> None:
    """Counts and seconds may be numpy's: they are stored as Python's."""
    result = run_forty(safebench, "-c", "rowdy_guard,place=record,how=numpy_counts")

    assert 0 == result.exit_code, result.output
    assert {120} == {row["tokens"] for row in result_rows()}


@pytest.mark.slow
def test_what_was_recorded_before_a_failure_is_kept(safebench: Safebench) -> None:
    """The guard fails in its second shard of 20; repeated, it goes on from there."""
    failing = "rowdy_guard,place=record,how=raise,calls=1"
    first = run_forty(safebench, "-c", failing)

    assert_one_line(first, "boom")
    assert 1 == len(list(Path("out/evidence").glob("*/main/*.npz")))
    second = run_forty(safebench, "-c", failing)  # now its first shard is the last one
    assert 0 == second.exit_code, second.output
    assert {40} == {row["n"] for row in result_rows()}


@pytest.mark.slow
def test_a_failure_is_forgotten_when_it_is_mended(safebench: Safebench) -> None:
    """Rows of a guard that could not even be loaded do not stay beside the new ones."""
    # the same identity: `place` and `how` are no part of it
    broken = run_forty(safebench, "-c", "rowdy_guard,place=init,how=raise")
    mended = run_forty(safebench, "-c", "rowdy_guard")

    assert [1, 0] == [broken.exit_code, mended.exit_code], mended.output
    assert [] == [row["note"] for row in result_rows() if "boom" in row["note"]]


@pytest.mark.slow
def test_predictions_of_a_strategy_that_fails_now_are_removed(
    safebench: Safebench,
) -> None:
    """They would contradict the rows, which say that there is no value."""
    strategy = ("-c", "keyword", "-s", "score", "-s", "s=rowdy_strategy")
    run_forty(safebench, *strategy)
    assert 2 == len(list(Path("out/predictions").glob("*/*/*")))

    run_forty(safebench, *strategy, "--set", "s.how=raise")

    assert ["score.jsonl"] == [p.name for p in Path("out/predictions").glob("*/*/*")]
    assert {None} == set(values(strategy="s").values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        *RAISED.items(),
        ("write", "read-only"),
        ("unlock", "WRITEABLE"),
        ("base", "read-only"),
        ("replace", "changed the evidence that it reads (Scores)"),
        ("meta", "changed the evidence that it reads (Scores)"),
        ("cached", "read-only"),
        ("two", "a probability of 2"),
        ("minus", "a probability of -0.1"),
        ("inf", "a probability of inf"),
        ("late", "a probability of "),
        ("none", "returned no judgements but None"),
        ("array", "returned no judgements but a ndarray"),
        ("generator", "returned no judgements but a generator"),
        ("complex", "an array of complex128"),
        ("objects", "an array of object"),
        ("texts", "an array of <U"),
        ("list", "score: a list"),
        ("column", "shape (40, 1)"),
        ("masked", "a MaskedArray"),
        ("fewer", "39 of 40"),
        ("bad_error", "an error is a ValueError"),
        ("bad_decision", "a decision is 7"),
        ("crossed", "lower is above upper"),
        ("bad_note", "the note is a int"),
    ],
)
def test_a_strategy_fails_alone(safebench: Safebench, how: str, reason: str) -> None:
    """The next one on the same evidence gives what it gives without the first."""
    run_forty(safebench, "-c", "rowdy_guard", "-s", "score")
    expected = values(strategy="score")

    result = run_forty(
        safebench, "-c", "rowdy_guard", "-s", f"rowdy_strategy,how={how}",
        "-s", "score",
    )  # fmt: skip

    assert_one_line(result, "strategy 'rowdy_strategy' of plugin rowdy", reason)
    assert {None} == set(values(strategy="rowdy_strategy").values())
    assert expected == values(strategy="score")
    assert "auroc" in expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        *RAISED.items(),
        ("none", "returned None"),
        ("float", "returned a float"),
        ("text", "value is a str"),
        ("complex", "value is a complex"),
        ("array", "value is a ndarray"),
        ("bool", "value is a bool"),
        ("note", "the note is a bytes"),
        ("bound", "bound_low is a str"),
        ("write", "read-only"),
        ("write_score", "read-only"),
    ],
)
def test_a_metric_fails_alone(safebench: Safebench, how: str, reason: str) -> None:
    """The other metrics are what they are without it."""
    run_forty(safebench, "-c", "keyword")
    expected = values()

    result = run_forty(safebench, "-c", "keyword", metric=how)

    assert_one_line(result, "metric 'rowdy_metric' of plugin rowdy", reason)
    assert {**expected, "rowdy_metric": None} == values()


@pytest.mark.slow
@pytest.mark.parametrize(("how", "value"), [("nan", None), ("float32", 0.5)])
def test_a_metric_without_a_finite_number_is_null(
    safebench: Safebench, how: str, value: float | None
) -> None:
    """That is no mistake; numpy's numbers are numbers."""
    result = run_forty(safebench, "-c", "keyword", metric=how)

    assert 0 == result.exit_code, result.output
    assert value == values()["rowdy_metric"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        *RAISED.items(),
        ("none", "returned a NoneType"),
        ("lines", "returned a list"),
    ],
)
def test_a_reporter_is_named(safebench: Safebench, how: str, reason: str) -> None:
    """Other formats show the same rows."""
    run_forty(safebench, "-c", "keyword")

    result = safebench("leaderboard", "out", "--format", "rowdy_reporter", reporter=how)

    assert_one_line(result, "reporter 'rowdy_reporter' of plugin rowdy", reason)
    assert 0 == safebench("leaderboard", "out", reporter=how).exit_code


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "exit", "odd", "deep"])
def test_a_trainer_and_a_dataset_are_named(safebench: Safebench, how: str) -> None:
    """Each in one line."""
    trained = safebench("train", "rowdy_trainer", "--out", "model", trainer=how)
    read = safebench("run", "-c", "keyword", "-d", "rowdy_dataset", dataset=how)

    assert_one_line(trained, "trainer 'rowdy_trainer' of plugin rowdy", RAISED[how])
    assert_one_line(read, "dataset 'rowdy_dataset' of plugin rowdy", RAISED[how])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dict", "none", "text"])
def test_a_reader_that_yields_no_examples_is_named(
    safebench: Safebench, how: str
) -> None:
    """And so is a trainer that returns nothing."""
    read = safebench("run", "-c", "keyword", "-d", "rowdy_dataset", dataset=how)
    trained = safebench("train", "rowdy_trainer", "--out", f"model-{how}")

    assert_one_line(read, "rowdy_dataset", "no Example")
    assert_one_line(trained, "rowdy_trainer", "not a Trained")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["raise", "exit", "odd"])
def test_all_strategies_are_those_that_work(safebench: Safebench, how: str) -> None:
    """One that nobody named, and whose options cannot be read, is left out by name."""
    result = run_forty(safebench, "-c", "keyword", "-s", "all", options=how)

    assert 0 == result.exit_code, result.output
    assert "skipped rowdy_strategy: cannot import rowdy.options" in result.stderr
    assert {"score"} == {row["strategy"] for row in result_rows()}


@pytest.mark.slow
def test_debug_shows_the_tracebacks_of_parts(safebench: Safebench) -> None:
    """And the rest of the run goes on all the same."""
    result = run_forty(
        safebench, "-c", "keyword", "-s", "rowdy_strategy,how=raise", "-s", "score",
        "--debug",
    )  # fmt: skip

    assert 1 == result.exit_code
    assert "in _raise" in result.stderr
    assert "auroc" in values(strategy="score")


@pytest.mark.parametrize("how", ["interrupt", "swallow"])
@pytest.mark.parametrize(
    "part",
    [
        ["-c", "keyword", "-s", "rowdy_strategy,how={}"],
        ["-c", "rowdy_guard,place=record,how={}"],
    ],
)
def test_an_interruption_interrupts(
    safebench: Safebench, part: list[str], how: str
) -> None:
    """Also if a plugin makes another exception of it."""
    result = run_forty(safebench, *(text.format(how) for text in part))

    assert 130 == result.exit_code, result.output


@pytest.mark.slow
def test_what_a_strategy_does_to_the_process_is_undone(safebench: Safebench) -> None:
    """Warnings made errors, numpy's error state, and another current folder."""
    guard = ("-c", "rowdy_guard", "-s", "s=rowdy_strategy", "-s", "score")
    run_forty(safebench, *guard)
    expected = values(strategy="score"), values(strategy="s")

    def state() -> tuple[Any, ...]:
        errors = [entry for entry in warnings.filters if entry[0] == "error"]
        return Path.cwd(), np.geterr(), errors

    before = state()

    result = run_forty(safebench, *guard, "--set", "s.how=spoil")

    assert 0 == result.exit_code, result.output
    assert before == state()
    assert expected == (values(strategy="score"), values(strategy="s"))
    assert "brier" in expected[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "args", "kind"),
    [
        ("metric=auroc", ("run", "-c", "keyword"), "metric 'auroc'"),
        ("metric=Brier", ("leaderboard", "out"), "metric 'brier'"),
        ("metric_alias=fpr", ("run", "-c", "keyword"), "metric 'fpr'"),
        ("metric=f1", ("compare", "score", "s"), "metric 'f1'"),
        (
            "reporter=table",
            ("leaderboard", "out", "--format", "table"),
            "reporter 'table'",
        ),
        (
            "trainer=bert_ensemble",
            ("train", "bert_ensemble"),
            "trainer 'bert_ensemble'",
        ),
        ("dataset=starter", ("run", "-c", "keyword"), "dataset 'starter'"),
        ("guard_alias=keyword", ("run", "-c", "keyword"), "classifier 'keyword'"),
        ("strategy_alias=SCORE", ("run", "-c", "keyword"), "strategy 'score'"),
    ],
)
def test_a_name_of_two_plugins_is_refused(
    safebench: Safebench, names: str, args: tuple[str, ...], kind: str
) -> None:
    """Whichever kind it is, and whether it is a name or an alias."""
    run_forty(safebench, "-c", "keyword", "-s", "score", "-s", "s=rowdy_strategy")
    before = Path("out/results.jsonl").read_bytes()

    result = safebench(*args, names=names)

    assert 2 == result.exit_code, result.output
    assert f"more than one plugin has the {kind}" in result.stderr
    assert before == Path("out/results.jsonl").read_bytes()


@pytest.mark.slow
def test_a_command_of_two_plugins_belongs_to_neither(
    install: Callable[..., Installed],
) -> None:
    """Both can be run under their distribution's name; a core command stays."""
    site = install("rowdy")

    clash = site.safebench("feedback", "--help", ROWDY_NAMES="command=feedback")
    theirs = site.safebench(
        "safebench-test-rowdy:feedback", ROWDY_NAMES="command=feedback"
    )
    core = site.safebench("list", ROWDY_NAMES="command=run")

    assert 2 == clash.returncode
    assert "more than one plugin has the command 'feedback'" in clash.stderr
    assert 0 == theirs.returncode, theirs.stderr
    assert 0 == core.returncode
    assert "replaces the command 'run'" in core.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["rowdy_command"], ["rowdy_group", "below"]])
@pytest.mark.parametrize("how", ["raise", "exit", "odd", "deep"])
def test_a_command_that_fails_is_named(
    install: Callable[..., Installed], command: list[str], how: str
) -> None:
    """`sys.exit(0)` included: a command ends by returning, or by click's exit."""
    site = install("rowdy")

    result = site.safebench(*command, ROWDY_COMMAND=how)
    debug = site.safebench(*command, "--debug", ROWDY_COMMAND=how)

    assert 1 == result.returncode
    assert f"command {command[-1]!r} of plugin rowdy (safebench-test-rowdy 1.2.3)" in (
        result.stderr
    )
    assert RAISED[how] in result.stderr
    assert "Traceback" not in result.stderr
    assert how == "exit" or "in _" in debug.stderr


@pytest.mark.slow
def test_what_plugins_print_never_reaches_the_output(
    install: Callable[..., Installed],
) -> None:
    """From Python, C, a child and a thread; at import, in hooks, and when judging."""
    site = install("rowdy")
    prints = {f"ROWDY_{place}": "print" for place in ("IMPORT", "HOOK", "OPTIONS")}
    commands = [
        ["list-plugins", "--json"],
        ["list", "classifiers", "--json"],
        ["score", "-c", "rowdy_guard,place=record,how=print", "--json", "hello"],
        [
            "score",
            "-c",
            "keyword",
            "-s",
            "rowdy_strategy,how=print",
            "--json",
            "hello",
        ],
    ]

    for command in commands:
        result = site.safebench(*command, **prints)

        assert 0 == result.returncode, result.stderr
        assert [json.loads(line) for line in result.stdout.splitlines()]
        for source in ("python", "bytes", "the old stdout", "a child", "a thread"):
            assert f"from {source}" in result.stderr
        assert "from the descriptor" in result.stderr

    last = site.safebench("list-plugins", "--json", ROWDY_IMPORT="at_exit")
    assert [json.loads(line) for line in last.stdout.splitlines()]
    assert "from the end" in last.stderr

    run = site.safebench("run", "-c", "keyword", "--limit", "20", "--out", "run")
    table = site.safebench("leaderboard", "run", "--format", "csv", **prints)
    assert 0 == run.returncode, run.stderr
    assert "classifier," in table.stdout.splitlines()[0]
    shown = site.safebench(
        "leaderboard", "run", "--format", "rowdy_reporter", ROWDY_REPORTER="print"
    )
    assert "a table\n" == shown.stdout


STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.mark.slow
def test_what_plugins_print_steers_no_terminal(
    install: Callable[..., Installed],
) -> None:
    """Titles, clears, turns of direction: from Python, C and a child, wherever."""
    site = install("rowdy")
    guard = ("-c", "rowdy_guard,place=record,how=steer")
    strategy = ("-s", "rowdy_strategy,how=steer")
    places = [
        (["run", *guard, "--limit", "20", "--out", "a"], {}),
        (["run", "-c", "keyword", *strategy, "--limit", "20", "--out", "b"], {}),
        (["list", "classifiers", "--json"], {"ROWDY_IMPORT": "steer"}),
        (["train", "rowdy_trainer", "--out", "m"], {"ROWDY_TRAINER": "steer"}),
    ]

    for command, env in places:
        result = site.safebench(*command, **env)

        shown = {repr(found) for found in STEERS.findall(result.stderr + result.stdout)}
        assert set() == shown, command
        for source in ("print", "error", "bytes", "warning", "logged", "descriptor"):
            assert f"{source} <U+001B>]0;owned" in result.stderr, (command, source)
        assert "child <U+001B>]0;owned" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", ["fork", "no_streams", "closed_streams", "shallow", "leave"]
)
@pytest.mark.parametrize("place", ["record", "close", "strategy"])
def test_what_a_plugin_does_to_the_process_costs_nobody_else(
    safebench: Safebench, place: str, how: str
) -> None:
    """Copies end, streams and limits are back, and the end of all is refused."""
    run_forty(safebench, "-c", "rowdy_guard", "-s", "s=rowdy_strategy", "-s", "score")
    expected = values(strategy="score")
    guard, strategy = "rowdy_guard,value=2", "s=rowdy_strategy"
    if place == "strategy":
        strategy = f"s=rowdy_strategy,how={how}"
    else:
        guard = f"rowdy_guard,place={place},how={how}"

    result = run_forty(
        safebench, "-c", guard, "-s", strategy, "-s", "score", "--refresh"
    )

    assert (how == "leave") == result.exit_code, result.output
    assert "Traceback" not in result.output
    if how == "leave":
        assert_one_line(result, "of plugin rowdy", "SystemExit: called os._exit(0)")
    if (how, place) != ("leave", "record"):
        assert expected == values(strategy="score")
        assert "auroc" in expected


@pytest.mark.slow
def test_a_metric_that_forks_is_one_process_a_call(
    safebench: Safebench, tmp_path: Path
) -> None:
    """Copies that went on with the draws would copy themselves, too."""
    result = run_forty(safebench, "-c", "keyword", metric="fork_noted")

    assert 0 == result.exit_code, result.output
    copies = (tmp_path / "copies").read_text().split()
    assert {str(os.getpid())} == set(copies)


@pytest.mark.slow
def test_streams_that_a_plugin_closes_are_open_again(
    install: Callable[..., Installed],
) -> None:
    """The next file would take their place, and messages would be written into it."""
    site = install("rowdy")
    common = ("-s", "score", "--limit", "40", "--shard-size", "10", "--out", "run")

    result = site.safebench("run", "-c", "rowdy_guard,place=record,how=close", *common)

    assert 0 == result.returncode, result.stderr
    assert "results: run" in result.stdout
    assert "40/40" in result.stderr
    again = site.safebench("run", "-c", "rowdy_guard,place=record,how=close", *common)
    assert "uses stored evidence of 40 samples" in again.stderr
    assert "set aside" not in again.stderr


@pytest.mark.slow
def test_a_plugin_that_is_slow_to_import_is_named(
    install: Callable[..., Installed],
) -> None:
    """Every command waits for it, so every command says whom it waits for."""
    result = install("rowdy").safebench("list-plugins", "--json", ROWDY_IMPORT="sleep")

    assert 0 == result.returncode
    assert "rowdy (safebench-test-rowdy 1.2.3) takes over 1 s" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["exit", "odd", "unreadable", "deep", "stop", "spoil"])
@pytest.mark.parametrize("place", ["IMPORT", "HOOK"])
def test_a_plugin_that_fails_while_declaring_is_disabled(
    install: Callable[..., Installed], place: str, how: str
) -> None:
    """Whatever it raises; the rest works."""
    site = install("rowdy")

    result = site.safebench("list-plugins", "--json", **{f"ROWDY_{place}": how})

    listed = {r["name"]: r for r in map(json.loads, result.stdout.splitlines())}
    assert 0 == result.returncode, result.stderr
    assert "classifier:keyword" in listed["core"]["components"]
    assert "Traceback" not in result.stderr
    if how == "spoil":
        assert listed["rowdy"]["error"] is None
    else:
        assert RAISED[how].rstrip(": ") in listed["rowdy"]["error"]
