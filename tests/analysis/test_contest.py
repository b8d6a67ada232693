"""Uncertainties about the same decisions are compared with the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from safebench.analysis.analyse import analyse
from safebench.analysis.sections import sections
from safebench.analysis.wanted import Wanted
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from safebench.analysis import Analysis

    from .conftest import FakeRun


def analysed(run: FakeRun) -> Analysis:
    """Return a run of 300 samples: three doubts of one guard, one of another."""
    rng = np.random.default_rng(5)
    n = 300
    run.prompts = [f"prompt {i}" for i in range(n)]
    y = rng.random(n) < 0.5
    run.labels = y.tolist()
    wrong = rng.random(n) < 0.3
    decision = (y ^ wrong).tolist()
    doubts = {
        "good": wrong + rng.normal(size=n),
        "poor": rng.normal(size=n),
    }
    doubts["same"] = 2 * doubts["good"]
    for name, doubt in doubts.items():
        run.predict(name, uncertainty=doubt, decision=decision, probability=False)
    other = rng.random(n)
    run.predict("other", score=other)  # decides otherwise: no rival of the three
    return analyse(run.folder, Wanted(), Plugins(), [])


def test_rivals_share_their_errors(run: FakeRun) -> None:
    """Areas are those of scikit-learn; whoever decides otherwise is left out."""
    analysis = analysed(run)
    (found,) = analysis.contests
    by_name = {c.predictions.strategy: c for c in analysis.combinations}

    assert {"good", "same", "poor"} == {rival.strategy for rival in found.rivals}
    for rival in found.rivals:
        predictions = by_name[rival.strategy].predictions
        area = roc_auc_score(predictions.wrong, predictions.uncertainty)
        assert area == pytest.approx(rival.auroc)
    assert int(by_name["good"].predictions.wrong.sum()) == found.errors
    gap = found.rivals[2].auroc - found.rivals[0].auroc
    assert gap == pytest.approx(found.rivals[2].difference)


def test_the_table_says_what_is_shown_to_be_worse(run: FakeRun) -> None:
    """A doubt that knows nothing is worse; one of the same order is called so."""
    found = [s for s in sections(analysed(run)) if "finds the" in s.title]

    (table,) = found
    assert ["good", "same", "poor"] == [row[0] for row in table.rows]
    assert ["", "same order", "yes"] == [row[-1] for row in table.rows]
