"""`compare`: names in, a plain answer out."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli.compare import command
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from click.testing import Result
    from conftest import Write


@pytest.fixture
def run(
    write: Write,
    scores: tuple[np.ndarray, np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Result]:
    """Return a function that runs the command beside two stored strategies."""
    monkeypatch.setenv("COLUMNS", "80")
    y, weak, strong = scores
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, strong)
    plugins = Plugins([EntryPoint("core", "safebench.core_plugin", "safebench")])

    def _run(*args: str) -> Result:
        return CliRunner().invoke(command, args, obj=plugins)

    return _run


def test_the_table_names_the_better_one(run: Callable[..., Result]) -> None:
    """Both names, the six metrics, the verdict; no line wider than a terminal."""
    done = run("weak", "strong", "--draws", "200")

    assert 0 == done.exit_code, done.output
    assert "A: guard/weak\nB: guard/strong" in done.output
    (auroc,) = [line for line in done.output.splitlines() if line.startswith("auroc")]
    assert auroc.endswith("B is better")
    assert 80 >= max(map(len, done.output.splitlines()))
    swapped = run("strong", "weak", "--metrics", "auroc").output
    assert "A is better" in swapped


def test_json_is_complete(run: Callable[..., Result]) -> None:
    """Intervals, p, adjusted p and verdict of every line, for programs."""
    done = run("weak", "strong", "--metrics", "f1,AUROC", "--format", "json")
    (record,) = json.loads(done.stdout)

    assert ["f1", "auroc"] == [line["metric"] for line in record["lines"]]
    assert {"b01", "b10", "p"} == set(record["discordant"])
    line = record["lines"][1]
    assert line["difference"]["low"] <= line["difference"]["value"]
    assert ("b", "B is better", "DeLong") == (
        line["better"],
        line["verdict"],
        line["test"],
    )


def test_markdown(run: Callable[..., Result]) -> None:
    """A table with one line a metric, names escaped."""
    done = run("weak", "strong", "--metrics", "fpr", "--format", "md")

    assert "**A: guard/weak**" in done.output
    assert "| metric | A | B | B - A | p | Holm |  |" in done.output
    assert 1 == done.output.count("\n| fpr |")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["weak", "strnog"], "did you mean 'strong'?"),
        (["weak", "strong", "--metrics", "auroq"], "did you mean 'auroc'?"),
        (["weak", "strong", "--run", "two"], "no predictions in 'two'"),
    ],
)
def test_mistakes_are_answered(
    run: Callable[..., Result], args: list[str], message: str
) -> None:
    """Exit code 2 and one message with what would work."""
    done = run(*args)

    assert 2 == done.exit_code
    assert message in done.output
    assert "Traceback" not in done.output
