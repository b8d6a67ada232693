"""Figures: which there are, not how they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from safebench.analysis.request import AnalysisRequest
from safebench.analysis.run_analysis import analyze_run
from safebench.plots.curves import (
    merge_indistinguishable,
    recall_at_fprs,
    risk_at_coverages,
)
from safebench.plots.figures import draw_figures, write_plots
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.analysis import RunAnalysis

    from .conftest import FakeRun

SCORE = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3]
UNCERTAINTY = [0.1, 0.2, 0.9, 0.3, 0.8, 0.2, 0.1, 0.3]


def analyzed(run: FakeRun) -> RunAnalysis:
    """Return the analysis of a run with an ensemble and two strategies."""
    run.predict(score=SCORE, uncertainty=UNCERTAINTY)
    run.predict("rank", score=SCORE[::-1], probability=False)
    margin = np.random.default_rng(0).normal(size=(8, 3))
    run.record_members(np.stack([margin, -margin], axis=2))
    request = AnalysisRequest(always_detailed=True)
    return analyze_run(run.folder, request, Plugins(), [])


@pytest.mark.slow
def test_every_figure_is_a_png_with_a_description(run: FakeRun, tmp_path: Path) -> None:
    """One risk-coverage plot and one of ROC, a histogram each, one reliability."""
    written = write_plots(analyzed(run), tmp_path / "plots")

    names = {path.name.removeprefix("prompts.jsonl_all.") for path in written}
    assert {
        "risk-coverage.png",
        "roc-pr.png",
        "guard.mean.uncertainty.png",
        "guard.mean.reliability.png",
        "guard.rank.uncertainty.png",
        "members_of_guard.disagreement.png",
        "members_of_guard.parting.png",
    } == names
    for path in written:
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        assert b"Description" in data


def test_curves_that_look_the_same_share_a_name(run: FakeRun) -> None:
    """Two strategies of equal order are one curve; another one is not."""
    run.predict("a", score=SCORE, uncertainty=UNCERTAINTY)
    run.predict("b", score=[s + 1e-4 for s in SCORE], uncertainty=UNCERTAINTY)
    run.predict("c", score=SCORE[::-1], uncertainty=UNCERTAINTY[::-1])
    analysis = analyze_run(run.folder, AnalysisRequest(), Plugins(), [])
    named = [(c.predictions.strategy, c) for c in analysis.combinations]

    assert ["a = b", "c"] == [
        name for name, _ in merge_indistinguishable(named, recall_at_fprs)
    ]
    assert ["a = b", "c"] == [
        name for name, _ in merge_indistinguishable(named, risk_at_coverages)
    ]


@pytest.mark.parametrize("labels", [[True] * 8, [False] * 8])
def test_one_class_alone_is_drawn_without_roc(run: FakeRun, labels: list[bool]) -> None:
    """There is no curve without both classes, and no error either."""
    run.labels = labels

    names = [drawn.name for drawn in draw_figures(analyzed(run))]

    assert not [name for name in names if "roc" in name]
    assert [name for name in names if "risk-coverage" in name]


def test_infinite_scores_can_be_drawn(run: FakeRun) -> None:
    """A cost may be infinite, which stored predictions keep as a very big number."""
    run.predict(score=[1e308, *SCORE[1:7], -1e308], probability=False)
    analysis = analyze_run(run.folder, AnalysisRequest(), Plugins(), [])

    for drawn in draw_figures(analysis):
        drawn.figure.canvas.draw()
