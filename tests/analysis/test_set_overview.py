"""The overview of many combinations on a screen of 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from safebench.analysis.request import AnalysisRequest
from safebench.analysis.run_analysis import analyze_run
from safebench.analysis.set_overview import set_overviews
from safebench.cli.analyze import command
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from safebench.analysis.text_table import TextTable

    from .conftest import FakeRun

LONG = "probability_uncertainty"


def written(run: FakeRun) -> FakeRun:
    """Return a run of two guards and six strategies on 60 prompts."""
    random = np.random.default_rng(3)
    run.prompts = [f"prompt number {i}" for i in range(60)]
    run.labels = [i % 2 == 0 for i in range(60)]
    score = random.random(60) * 0.6 + np.array(run.labels) * 0.3
    wrong = (score >= 0.5) != np.array(run.labels)
    good = wrong * 0.5 + random.random(60) * 0.6
    run.predict("good", score=score, uncertainty=good)
    nearly = good + random.random(60) * 0.1
    run.predict("nearly", score=score, uncertainty=nearly)
    run.predict("good_too", score=score, uncertainty=(0.5 - np.abs(score - 0.5)))
    run.predict(LONG, score=score, uncertainty=random.random(60))
    run.predict("same", score=score, uncertainty=0.5 - np.abs(score - 0.5))
    run.predict("score", score=score[::-1], classifier="other")
    return run


def overview(run: FakeRun) -> list[TextTable]:
    """Return the tables of a run."""
    return list(
        set_overviews(analyze_run(run.folder, AnalysisRequest(), Plugins(), []))
    )


def test_each_uncertainty_has_its_error_auroc_and_equal_ones_are_one_line(
    run: FakeRun,
) -> None:
    """Values are scikit-learn's; a guard's line counts the errors to be found."""
    analysis = analyze_run(written(run).folder, AnalysisRequest(), Plugins(), [])
    table, reading = set_overviews(analysis)

    lines = {row[0].strip(): row for row in table.rows}
    assert {"guard", "good", "nearly", "good_too (+1)", LONG, "other", "score^"} == set(
        lines
    )
    assert "guard good_too = same" in table.notes
    for combination in analysis.combinations:
        predictions, uncertainty = combination.predictions, combination.uncertainty
        if predictions.strategy in {"good", LONG}:
            assert uncertainty
            auroc = roc_auc_score(predictions.wrong, uncertainty.values)
            assert f"{auroc:.3f}" in lines[predictions.strategy][1]
    n_wrong = int(analysis.combinations[0].predictions.wrong.sum())
    assert f"{n_wrong} of 60 wrong" == lines["guard"][2]
    assert "closeness of the score" in " ".join(reading.notes)


def test_the_best_and_those_that_may_be_as_good_are_marked(run: FakeRun) -> None:
    """As the paired comparison of the same decisions says."""
    analysis = analyze_run(written(run).folder, AnalysisRequest(), Plugins(), [])
    (comparison,) = analysis.uncertainty_comparisons
    table = next(iter(set_overviews(analysis)))

    lines = {row[0].strip().partition(" (")[0]: row[1] for row in table.rows}
    best, *others = comparison.results
    assert lines[best.strategy].endswith("*")
    for result in others:
        if result.strategy in lines:
            assert result.high is not None
            assert lines[result.strategy].startswith("~") == (result.high >= 0)
    marks = {line[:1] == "~" for line in lines.values() if line.strip()}
    assert {True, False} == marks


@pytest.mark.slow
def test_80_columns_hold_what_it_is_for(run: FakeRun) -> None:
    """Error AUROC with its interval, and AURC; no name is folded."""
    env = {"COLUMNS": "80", "SAFEBENCH_DATA": ""}
    outcome = CliRunner().invoke(
        command, [str(written(run).folder)], obj=Plugins(), env=env
    )

    lines = outcome.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Which uncertainty finds the errors on prompts.jsonl")
    (header,) = [line for line in lines if "guard and strategy" in line]
    assert ["error", "AUROC", "95", "%", "AURC"] == header.split()[3:8]
    (long,) = [line for line in lines if LONG in line]
    assert "[" in long


def test_guards_that_decide_alike_are_named(run: FakeRun) -> None:
    """Strategies of one guard are not: they stand below one line."""
    written(run)
    run.predict("copy", score=[1.0, 0.0] * 30, classifier="third")
    run.predict("copy", score=[1.0, 0.0] * 30, classifier="fourth")

    *_, reading = overview(run)

    identical = [note for note in reading.notes if note.startswith("identical")]
    assert ["identical decisions on prompts.jsonl:all: fourth/copy, third/copy"] == (
        identical
    )
