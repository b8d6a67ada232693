"""Metrics of a third party: in result rows, with intervals, and compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Installed

pytestmark = pytest.mark.slow


@pytest.fixture
def site(install: Callable[..., Installed]) -> Installed:
    """Return a run of two guards with a plugin's metrics."""
    installed = install("good_guard", "more_metrics")
    result = installed.safebench(
        "run", "-c", "length,scale=50", "-c", "keyword", "-s", "score",
        "--limit", "40", "--out", "runs/grid",
    )  # fmt: skip
    assert 0 == result.returncode, result.stderr
    return installed


def rows(site: Installed, metric: str) -> list[dict[str, Any]]:
    """Return the result rows of a metric."""
    text = (site.cwd / "runs" / "grid" / "results.jsonl").read_text()
    lines = map(json.loads, text.splitlines())
    return [row for row in lines if row["metric"] == metric]


def test_a_metric_of_a_plugin_has_an_interval_and_is_compared(site: Installed) -> None:
    """Called on resamples, or computed from sums; one asks for no interval."""
    for metric in ("flagged", "score_gap", "specificity"):
        for row in rows(site, metric):
            assert row["ci_low"] is not None, row
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
            assert row["ci_method"].endswith("groups")
    assert [None] * 2 == [row["ci_method"] for row in rows(site, "n_groups")]

    result = site.safebench(
        "compare", "keyword", "length", "--format", "json",
        "--metrics", "flagged,score_gap,specificity,fpr",
    )  # fmt: skip
    assert 0 == result.returncode, result.stderr
    (comparison,) = json.loads(result.stdout)
    lines = {line["metric"]: line for line in comparison["lines"]}
    for metric in ("flagged", "score_gap", "specificity"):
        line = lines[metric]
        values = sorted(row["value"] for row in rows(site, metric))
        compared = sorted([line["a"]["value"], line["b"]["value"]])
        assert values == pytest.approx(compared, abs=1e-5)  # scores are stored rounded
        assert 0 <= line["p"] <= 1
        assert line["difference"]["low"] <= line["difference"]["value"]
    assert "swapped groups" == lines["score_gap"]["difference"]["method"]
    # specificity is one minus the false positive rate, whose flips are all counted
    assert "exact McNemar" == lines["fpr"]["test"]
    assert lines["fpr"]["p"] == pytest.approx(lines["specificity"]["p"], abs=0.05)


def test_a_metric_without_interval_cannot_be_compared(site: Installed) -> None:
    """It is not among what could be asked for."""
    result = site.safebench("compare", "keyword", "length", "--metrics", "n_groups")

    assert 2 == result.returncode
    assert "n_groups" in result.stderr


def test_ties_of_a_plugin_metric_are_marked(site: Installed) -> None:
    """`leaderboard --ci` shows its interval."""
    result = site.safebench(
        "leaderboard", "runs/grid", "--ci", "--metrics", "score_gap",
        "--sort", "score_gap",
    )  # fmt: skip

    assert 0 == result.returncode, result.stderr
    assert "[" in result.stdout
