"""`safebench leaderboard`: arguments in, one table out."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench import ReporterSpec, hookimpl
from safebench.cli.leaderboard import command
from safebench.plugins import Plugins
from safebench.results import merge_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Rows


@pytest.fixture
def leaderboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Rows
) -> Callable[..., Result]:
    """Return a function that runs the command beside two runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name, value in (("one", 0.6), ("two", 0.7)):
        given = rows({"auroc": value, "fpr": 0.1}, run=name, strategy=name)
        merge_rows(tmp_path / "runs" / name / "results.jsonl", given)
    plugins = Plugins([EntryPoint("core", "safebench.core_plugin", "safebench")])

    def _run(*args: str) -> Result:
        return CliRunner().invoke(command, args, obj=plugins)

    return _run


def test_all_runs_best_first(leaderboard: Callable[..., Result]) -> None:
    """Without arguments every run is a line, ordered by AUROC."""
    done = leaderboard("--format", "csv")

    assert 0 == done.exit_code
    assert ["two", "one"] == [row.split(",")[4] for row in done.output.split()[1:]]


def declaring(name: str) -> Callable[[], list[ReporterSpec]]:
    """Return the hook of a plugin with one reporter."""

    @hookimpl
    def safebench_reporters() -> list[ReporterSpec]:
        return [ReporterSpec(name=name, summary="of a test", load="json:dumps")]

    return safebench_reporters


@pytest.mark.parametrize(
    ("names", "form", "said"),
    [
        (("table", "x"), "", None),
        (("table", "x"), "table", "plugin core (unknown unknown) and plugin"),
        (("twice", "TWICE"), "twice", "plugin reporter0 (unknown unknown) and plugin"),
        (("twice", "TWICE"), "unknown:twice", "plugin reporter0 (unknown unknown) and"),
        (("twice", "TWICE"), "csv", None),
    ],
)
def test_names_that_two_plugins_have(
    names: tuple[str, str],
    form: str,
    said: str | None,
    leaderboard: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who names none gets the core's table; no advice that would not help."""
    entries = [EntryPoint("core", "safebench.core_plugin", "safebench")]
    for i, name in enumerate(names):
        module = ModuleType(f"reporter{i}")
        vars(module)["safebench_reporters"] = declaring(name)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entries.append(EntryPoint(module.__name__, module.__name__, "safebench"))
    alone = leaderboard(*(["--format", form] if form == "csv" else []))
    words = ["--format", form] if form else []

    done = CliRunner().invoke(command, words, obj=Plugins(entries))

    if said is None:
        assert (0, alone.output) == (done.exit_code, done.output)
    else:
        assert 0 != done.exit_code
        assert said in done.output
        assert "say" not in done.output


def test_one_run_with_chosen_columns(leaderboard: Callable[..., Result]) -> None:
    """A run, the metrics and the format as asked."""
    done = leaderboard("runs/one", "--metrics", "fpr, auroc", "--format", "json")
    (record,) = json.loads(done.output)

    assert ["fpr", "auroc"] == list(record["metrics"])


def test_the_table_is_the_default(leaderboard: Callable[..., Result]) -> None:
    """A pipe gets plain text of 80 columns at most."""
    done = leaderboard()

    assert 0 == done.exit_code
    assert "\x1b" not in done.output
    assert max(map(len, done.output.split("\n"))) <= 80


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (["--format", "tabel"], "did you mean 'table'"),
        (["--metrics", "aurok"], "did you mean 'auroc'"),
        (["--sort", "aurok"], "did you mean 'auroc'"),
        (["--sort", "strategi"], "did you mean 'strategy'"),
        (["--format", "parket"], "did you mean 'parquet'"),
        (["runs/tow"], "did you mean 'runs/two'"),
    ],
)
def test_mistakes_are_answered_with_the_nearest_name(
    leaderboard: Callable[..., Result], args: list[str], answer: str
) -> None:
    """Exit code 2, one message, what would work."""
    done = leaderboard(*args)

    assert 2 == done.exit_code
    assert answer in done.output


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("strategy", ["one", "two"]),
        ("Strategy", ["one", "two"]),
        ("auroc", ["two", "one"]),
        ("n", ["one", "two"]),
        ("failed", ["two", "one"]),
    ],
)
def test_lines_are_sorted_by_any_column(
    tmp_path: Path,
    leaderboard: Callable[..., Result],
    rows: Rows,
    column: str,
    order: list[str],
) -> None:
    """Names from A to Z, counts largest first."""
    for name, value, n, failed in (("one", 0.6, 9, 0), ("two", 0.7, 8, 2)):
        given = rows({"auroc": value}, run=name, strategy=name, n=n, n_failed=failed)
        merge_rows(tmp_path / "runs" / name / "results.jsonl", given)

    done = leaderboard("--sort", column, "--metrics", "auroc", "--format", "csv")

    assert 0 == done.exit_code, done.output
    assert order == [row.split(",")[4] for row in done.output.split()[1:]]


def test_a_table_is_written_to_a_file(
    tmp_path: Path, leaderboard: Callable[..., Result]
) -> None:
    """The same text as in a pipe; Parquet as bytes, in a pipe too."""
    printed = leaderboard("--format", "csv")
    done = leaderboard("--format", "csv", "-o", "table.csv")

    assert "wrote table.csv\n" == done.output
    assert printed.output == (tmp_path / "table.csv").read_text("utf-8")
    assert 0 == leaderboard("--format", "parquet", "--out", "t.parquet").exit_code
    content = (tmp_path / "t.parquet").read_bytes()
    assert content[:4] == content[-4:] == b"PAR1"
    assert content == leaderboard("--format", "parquet").stdout_bytes


def test_help_has_an_example(leaderboard: Callable[..., Result]) -> None:
    """The help shows a command to copy."""
    assert "safebench leaderboard runs/" in leaderboard("--help").output


def test_choices_and_their_mistakes(leaderboard: Callable[..., Result]) -> None:
    """`-s` keeps a strategy; what cannot be shown together is refused."""
    assert "one" not in leaderboard("-s", "two", "--format", "csv").output
    for args, answer in (
        (("-c", "gaurd"), "did you mean 'guard'"),
        (("--pivot", "--average"), "leave out --average"),
        (("--pivot", "--metrics", "auroc,fpr"), "all metrics but one"),
        (("--average",), "two or more"),
        (("--average", "--with-reference"), "leave out --with-reference"),
    ):
        done = leaderboard(*args)
        assert 0 != done.exit_code
        assert answer in done.output
    assert "mean_auroc" in leaderboard("--pivot", "--format", "csv").output
