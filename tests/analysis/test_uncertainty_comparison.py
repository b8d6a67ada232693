"""Uncertainties of the same decisions are compared with the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from safebench.analysis.request import AnalysisRequest
from safebench.analysis.run_analysis import analyze_run
from safebench.analysis.tables import analysis_tables
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from safebench.analysis import RunAnalysis

    from .conftest import FakeRun


def analyzed(run: FakeRun) -> RunAnalysis:
    """Return a run of 300 samples: three uncertainties of one guard's decisions."""
    rng = np.random.default_rng(5)
    n = 300
    run.prompts = [f"prompt {i}" for i in range(n)]
    y = rng.random(n) < 0.5
    run.labels = y.tolist()
    wrong = rng.random(n) < 0.3
    decision = (y ^ wrong).tolist()
    uncertainties = {
        "good": wrong + rng.normal(size=n),
        "poor": rng.normal(size=n),
    }
    uncertainties["same"] = 2 * uncertainties["good"]
    for name, uncertainty in uncertainties.items():
        run.predict(name, uncertainty=uncertainty, decision=decision, probability=False)
    other = rng.random(n)
    run.predict("other", score=other)  # decides otherwise, so it is not comparable
    return analyze_run(run.folder, AnalysisRequest(), Plugins(), [])


def test_only_strategies_with_the_same_errors_are_compared(run: FakeRun) -> None:
    """The AUROC is scikit-learn's; a strategy that decides otherwise is left out."""
    analysis = analyzed(run)
    (comparison,) = analysis.uncertainty_comparisons
    by_name = {c.predictions.strategy: c for c in analysis.combinations}

    assert {"good", "same", "poor"} == {
        result.strategy for result in comparison.results
    }
    for result in comparison.results:
        predictions = by_name[result.strategy].predictions
        auroc = roc_auc_score(predictions.wrong, predictions.uncertainty)
        assert auroc == pytest.approx(result.auroc)
    assert int(by_name["good"].predictions.wrong.sum()) == comparison.n_errors
    difference = comparison.results[2].auroc - comparison.results[0].auroc
    assert difference == pytest.approx(comparison.results[2].difference)


def test_the_table_says_what_is_significantly_worse(run: FakeRun) -> None:
    """Random uncertainty is worse; one of the same order is called so."""
    tables = analysis_tables(analyzed(run))
    (table,) = [each for each in tables if "finds the" in each.title]

    assert ["good", "same", "poor"] == [row[0] for row in table.rows]
    assert ["", "same order", "yes"] == [row[-1] for row in table.rows]
