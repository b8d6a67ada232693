"""`leaderboard --prevalence`: from predictions or rows, and never mixed with others."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.results.rows import to_json
from safebench.statistics.interval import mid_p_interval
from safebench.testing.result_rows import result_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Run = Callable[..., Result]

TP, N_POS, FP, N_NEG = 12, 51, 14, 350


@pytest.fixture
def run(folder: Path) -> Path:
    """Return a run folder with results and without predictions."""
    path = folder / "runs" / "one"
    path.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for metric, hits, n in (("recall", TP, N_POS), ("fpr", FP, N_NEG)):
        low, high = mid_p_interval(hits, n)
        rows.append(
            {"metric": metric, "value": hits / n, "ci_low": low, "ci_high": high}
        )
    rows += [{"metric": "precision", "value": TP / (TP + FP)}]
    rows += [{"metric": "f1", "value": 0.4}, {"metric": "auroc", "value": 0.8}]
    (path / "results.jsonl").write_text(
        "".join(to_json(result_row(n=401, n_pos=N_POS, **row)) + "\n" for row in rows),
        "utf-8",
    )
    return path


def values(result: Result) -> dict[str, dict[str, float | None]]:
    """Return the metrics of the only line."""
    assert 0 == result.exit_code, result.output
    (line,) = json.loads(result.stdout)
    assert 0.001 == line["prevalence"]
    metrics: dict[str, dict[str, float | None]] = line["metrics"]
    return metrics


@pytest.mark.usefixtures("run")
def test_counts_per_million_with_intervals(safebench: Run) -> None:
    """Recall .235 and FPR .040 at one in a thousand, as worked out by hand."""
    metrics = values(
        safebench("leaderboard", "one", "--prevalence", ".001", "--format", "json")
    )

    assert 40_195 == round(metrics["alerts_per_million"]["value"] or 0)
    assert 0.0059 == round(metrics["precision"]["value"] or 0, 4)
    assert math.isclose(metrics["missed_per_million"]["value"] or 0, 1000 * 39 / 51)
    for cell in metrics.values():
        assert cell["ci_low"] < cell["value"] < cell["ci_high"]  # type: ignore[operator]
    assert "without predictions" in str(metrics["precision"]["note"])


def test_predictions_give_the_correlation_of_groups(
    run: Path, write: Callable[..., Path], safebench: Run
) -> None:
    """Where they are stored, their decisions are counted, and nothing is noted."""
    y = np.arange(401) < N_POS
    flagged = np.r_[np.arange(N_POS) < TP, np.arange(N_NEG) < FP]
    write("set", y, np.where(flagged, 0.9, 0.1), "test", of="guard/plain")
    rows = (run / "results.jsonl").read_text(encoding="utf-8").splitlines()
    names = {"classifier": "guard", "strategy": "plain", "dataset": "set"}
    named = [json.loads(row) | names | {"split": "test"} for row in rows]
    lines = "".join(json.dumps(row) + "\n" for row in named)
    (run / "results.jsonl").write_text(lines, encoding="utf-8")

    metrics = values(
        safebench("leaderboard", "one", "--prevalence", ".001", "--format", "json")
    )

    assert 40_195 == round(metrics["alerts_per_million"]["value"] or 0)
    assert not metrics["precision"]["note"]


@pytest.mark.usefixtures("run")
def test_it_is_never_mixed_with_numbers_of_the_data(safebench: Run) -> None:
    """The table and every export say the prevalence; F1 of the data is refused."""
    common = ("leaderboard", "one", "--prevalence", ".001")
    table = safebench(*common).output
    (row,) = csv.DictReader(io.StringIO(safebench(*common, "--format", "csv").output))
    markdown = safebench(*common, "--format", "md").output
    plain = safebench("leaderboard", "one", "--format", "csv").output
    refused = safebench(*common, "--metrics", "recall,f1")

    assert "at a prevalence of 0.001" in table
    assert "0.0059" in table
    assert "at a prevalence of 0.001" in markdown
    assert "0.001" == row["prevalence"]
    assert "prevalence" not in plain
    assert 2 == refused.exit_code
    assert "f1 depends on how many samples are positive" in refused.stderr


@pytest.mark.usefixtures("run")
def test_results_without_rates_are_refused(folder: Path, safebench: Run) -> None:
    """Nothing can be said from other metrics."""
    path = folder / "runs" / "one" / "results.jsonl"
    path.write_text(
        to_json(result_row(metric="auroc", value=0.8)) + "\n", encoding="utf-8"
    )

    result = safebench("leaderboard", "one", "--prevalence", ".5")

    assert 2 == result.exit_code
    assert "no row has a recall and an FPR" in result.stderr
