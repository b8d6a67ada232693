"""Intervals and marks in every format, only where they were asked for."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli.leaderboard import command
from safebench.console import RenderOptions
from safebench.metrics.catalog import SPECS
from safebench.plugins import Plugins
from safebench.reporters.formats import render_csv as to_csv
from safebench.reporters.formats import render_json as to_json
from safebench.reporters.formats import render_latex as to_latex
from safebench.reporters.formats import render_markdown as to_markdown
from safebench.reporters.formats import render_terminal as to_terminal
from safebench.reporters.leaderboard import build_leaderboard
from safebench.results import merge_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from conftest import Rows

    from safebench.results import Row

CI = {"ci_low": 0.71, "ci_high": 0.84, "ci_method": "bca, 90 groups"}
NONE = {"ci_method": "none: fewer than 5 groups"}


def all_tie(rows: Sequence[Row]) -> list[bool]:
    """Return that no row differs significantly from the best."""
    return [position > 0 for position in range(len(rows))]


@pytest.fixture
def given(rows: Rows) -> list[Row]:
    """Return two strategies of which only the first has an interval."""
    return [
        *rows({"auroc": 0.78}, strategy="best", **CI),
        *rows({"auroc": 0.7}, strategy="tied", **NONE),
    ]


def test_the_table_shows_intervals_below(given: list[Row]) -> None:
    """The ends stand under the number; a tilde marks what does not differ."""
    table = build_leaderboard(given, specs=SPECS, ci=True, ties_with_best=all_tie)
    text = to_terminal(table, RenderOptions(width=80))

    assert "0.780*" in text
    assert "[0.710 0.840]" in text.splitlines()[4]
    assert "~0.700" in text
    assert "~ no significant difference to the best auroc" in text
    assert "no interval: fewer than 5 groups" in text


def test_other_formats(given: list[Row]) -> None:
    """Markdown and LaTeX in one cell, CSV in columns of their own."""
    table = build_leaderboard(given, specs=SPECS, ci=True, ties_with_best=all_tie)

    assert r"| **0.780** \[0.710 0.840\] |" in to_markdown(table, RenderOptions())
    assert "| ~0.700 |" in to_markdown(table, RenderOptions())
    assert r"& \textbf{0.780} [0.710 0.840] &" in to_latex(table, RenderOptions())
    assert r"& $\sim$0.700 &" in to_latex(table, RenderOptions())
    first, second = csv.DictReader(io.StringIO(to_csv(table, RenderOptions())))
    assert ("0.71", "0.84") == (first["auroc_low"], first["auroc_high"])
    assert ("", "0.7") == (second["auroc_low"], second["auroc"])


def test_json_has_intervals_always(given: list[Row]) -> None:
    """Programs get ends and method without asking."""
    first, second = json.loads(
        to_json(build_leaderboard(given, specs=SPECS), RenderOptions())
    )
    cell = first["metrics"]["auroc"]

    assert CI == {key: cell[key] for key in CI}
    assert second["metrics"]["auroc"]["ci_low"] is None


def test_unasked_nothing_changes(given: list[Row]) -> None:
    """Without the option no bracket, no tilde and no footnote about them."""
    table = build_leaderboard(given, specs=SPECS)
    text = to_terminal(table, RenderOptions(width=80)) + to_markdown(
        table, RenderOptions()
    )

    assert "0.710" not in text
    assert "~" not in text
    assert "bracket" not in text


def test_results_without_intervals(rows: Rows) -> None:
    """Old results: a footnote says how to have intervals."""
    table = build_leaderboard(rows({"auroc": 0.7}), specs=SPECS, ci=True)

    assert any("run again" in note for note in table.footnotes)


def test_a_line_that_saw_the_labels_is_not_tested(rows: Rows) -> None:
    """What is not ranked is neither the best nor marked as tied with it."""
    given = [
        *rows({"auroc": 0.9}, strategy="original", threshold_from="test (original)"),
        *rows({"auroc": 0.8}, strategy="best"),
        *rows({"auroc": 0.7}, strategy="tied"),
    ]
    table = build_leaderboard(given, specs=SPECS, ci=True, ties_with_best=all_tie)
    marks = {line.strategy: line.cells[0].ties_with_best for line in table.lines}

    assert {"original": False, "best": False, "tied": True} == marks


def test_the_option(
    given: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--ci` shows them for a run whose predictions are gone, without marks."""
    monkeypatch.chdir(tmp_path)
    merge_rows(tmp_path / "runs" / "run" / "results.jsonl", given)
    done = CliRunner().invoke(command, ["--ci"], obj=Plugins())

    assert 0 == done.exit_code, done.output
    assert "[0.710 0.840]" in done.output
    assert "~" not in done.output


def test_a_number_outside_its_interval_is_explained(rows: Rows) -> None:
    """An ECE of .044 with an interval to .041 looks like a mistake, and is none."""
    ends = {"ci_low": 0.003, "ci_high": 0.041, "ci_method": "basic, 500 groups"}
    beside = build_leaderboard(rows({"ece": 0.044}, **ends), ci=True)
    within = build_leaderboard(rows({"ece": 0.02}, **ends), ci=True)

    assert "may lie outside its interval" in " ".join(beside.footnotes)
    assert "outside" not in " ".join(within.footnotes)


def test_remarks_on_intervals_only_where_they_are_shown(rows: Rows) -> None:
    """The rest of a note stays."""
    note = "two-valued score; the interval rests on 14 groups of positives"
    shown, hidden = (
        build_leaderboard(rows({"auroc": 0.7}, note=note), ci=ci).footnotes
        for ci in (True, False)
    )

    assert f"auroc: {note}" in shown
    assert "auroc: two-valued score" in hidden
