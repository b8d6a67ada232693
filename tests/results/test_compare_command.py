"""`compare`: names in, a plain answer out."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli.compare import command
from safebench.metrics.catalog import SPECS
from safebench.plugins import Plugins
from safebench.specs import MetricSpec

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
    auroc = next(s for s in done.output.splitlines() if s.startswith("auroc"))
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


def test_practically_equal_is_said(run: Callable[..., Result]) -> None:
    """With a margin that no difference reaches nobody wins; which one is in a note."""
    done = run("weak", "strong", "--metrics", "auroc", "--margin", "0.9")

    assert "practically" in done.output
    assert "B is better" not in done.output
    assert "margin 0.9, as given" in done.output
    wrong = run("weak", "strong", "--margin", "-1")
    assert 2 == wrong.exit_code


def test_equivalence_on_request(run: Callable[..., Result]) -> None:
    """Verdict and p of two one-sided tests; JSON has both."""
    args = ("weak", "strong", "--metrics", "auroc", "--margin", "0.9", "--equivalence")
    done = run(*args, "--format", "json")
    (record,) = json.loads(done.stdout)
    (line,) = record["lines"]

    assert (True, "equivalent") == (line["equivalent"], line["verdict"])
    assert line["equivalence_p"] < 0.001
    assert 0.9 == record["margin"]["value"]
    assert "two one-sided tests" in run(*args).output


def test_nothing_to_compare_is_no_success(run: Callable[..., Result]) -> None:
    """No uncertainty on either side: the table says so, and the exit code."""
    done = run("weak", "strong", "--metrics", "error_auroc")

    assert 2 == done.exit_code
    assert "nothing could be compared: error_auroc: " in done.output
    assert "uncertainty" in done.output


def test_the_smallest_difference_is_said(run: Callable[..., Result]) -> None:
    """A remark names that of each metric, and the command that says more."""
    done = run("weak", "strong", "--metrics", "auroc,fpr")

    assert "smallest difference that one test could have shown" in done.output
    assert "safebench power" in done.output


def failing_and(*names: str) -> list[MetricSpec]:
    """Return metrics of the core, and one of a plugin that takes no outcome."""
    failing = MetricSpec(
        name="broken",
        summary="what always fails",
        load="math:sqrt",
        needs=frozenset({"decision"}),
        higher_is_better=True,
    )
    return [failing, *(spec for spec in SPECS if spec.name in names)]


@pytest.mark.parametrize("others", [(), ("accuracy",)])
def test_a_metric_that_fails_is_no_success(
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    others: tuple[str, ...],
) -> None:
    """The others are compared; a line names it, and the exit code is 1."""
    # the package's attribute of that name is the command
    module = sys.modules["safebench.cli.compare"]
    monkeypatch.setattr(module, "comparable_metrics", lambda *_: failing_and(*others))
    done = run("weak", "strong", "--metrics", "broken,accuracy")

    assert 1 == done.exit_code
    (line,) = [s for s in done.stderr.splitlines() if s.startswith("error: ")]
    assert "broken" in line
    assert ("B is better" in done.stdout) == bool(others)
    assert ("nothing could be compared" in done.stderr) == (not others)
