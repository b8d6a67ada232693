"""Stopping rules, samples and the original search as options of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from safebench.evidence.shard_file import read_shard

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, *args: str) -> dict[tuple[str, str], Any]:
    """Run the embedded guard on 40 starter prompts; rows by strategy and metric."""
    result = subprocess.run(
        [sys.executable, "-m", "safebench", "run", "-c", "llamaguard",
         "--limit", "40", "--out", "run", *args],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert 0 == result.returncode, result.stderr
    lines = (folder / "run" / "results.jsonl").read_text().splitlines()
    return {(r["strategy"], r["metric"]): r for r in map(json.loads, lines)}


@pytest.mark.slow
def test_original_and_corrected_strategies_run_together(tmp_path: Path) -> None:
    """`compat=original` reads evidence of its own, and its rows say what they saw."""
    rows = run(
        tmp_path, "-s", "marginal_any", "-s", "marginal_any,compat=original",
        "-s", "logtoku,compat=original",
    )  # fmt: skip

    stores = {p.name for p in (tmp_path / "run" / "evidence").glob("*/main*")}
    original = rows["marginal_any[compat=original]", "f1"]
    assert {"main", "main.SeedTree"} == stores
    tuned = rows["logtoku[compat=original]", "micro_f1"]
    assert "test (original)" == original["threshold_from"] == tuned["threshold_from"]
    assert 0.2 == original["threshold"]
    assert "fixed" == rows["marginal_any", "f1"]["threshold_from"]
    assert tuned["value"] is not None


@pytest.mark.slow
def test_the_original_search_is_paid_for_by_its_own_rows(tmp_path: Path) -> None:
    """Costs of a row are those of the evidence that its strategy read."""
    results = run(
        tmp_path, "-s", "marginal_any", "-s", "marginal_any,compat=original",
        "--calibration-fraction", "0",
    )  # fmt: skip
    rows = {
        "main": results["marginal_any", "f1"],
        "main.SeedTree": results["marginal_any[compat=original]", "f1"],
    }
    (key,) = (tmp_path / "run" / "evidence").iterdir()

    for name, row in rows.items():
        shards = sorted((key / name).glob("*.npz"))
        traces = [t for shard in shards for t in read_shard(shard, ()).traces]
        assert len(traces) == row["n"]
        assert pytest.approx(sum(t.seconds for t in traces), abs=1e-3) == row["seconds"]
        assert (
            pytest.approx(sum(t.forward_passes for t in traces), abs=0.01)
            == row["forward_passes"]
        )
        assert sum(t.tokens_in + t.tokens_out for t in traces) == row["tokens"]
        assert {"safe", "unsafe"} & {str(t.raw).split()[0] for t in traces}
    assert rows["main"]["seconds"] != rows["main.SeedTree"]["seconds"]
    assert rows["main"]["forward_passes"] < rows["main.SeedTree"]["forward_passes"]


@pytest.mark.slow
def test_original_strategies_are_no_part_of_all(tmp_path: Path) -> None:
    """`-s all` is what the default record serves: one pass, nothing on request."""
    rows = run(tmp_path, "-s", "all")

    strategies = {strategy for strategy, _ in rows}
    assert {"marginal_any", "verdict_entropy", "msp"} <= strategies
    assert not any("original" in strategy for strategy in strategies)
    assert rows["msp", "error_auroc"]["value"] is not None
    assert rows["msp", "f1"]["value"] == rows["greedy", "f1"]["value"]


@pytest.mark.slow
def test_a_gap_rule_keeps_every_gap_below_its_delta(tmp_path: Path) -> None:
    """With nodes to spare, no tree stops before its bounds are that close."""
    rows = run(
        tmp_path, "--set", "llamaguard.stop=gap", "--set", "llamaguard.delta=0.02",
        "--set", "llamaguard.eps=1e-6", "--set", "llamaguard.max_nodes=2000",
    )  # fmt: skip

    assert 0 <= rows["marginal_any", "gap_p95"]["value"] <= 0.02 + 1e-9


@pytest.mark.slow
def test_certified_evidence_supports_decisions_at_its_threshold_alone(
    tmp_path: Path,
) -> None:
    """At tau there are decisions and no AUROC; at another threshold nothing."""
    rows = run(
        tmp_path, "--set", "llamaguard.stop=certify", "--set", "llamaguard.tau=0.5",
        "-s", "marginal_any", "-s", "other=marginal_any,threshold=0.3",
    )  # fmt: skip

    assert rows["marginal_any", "f1"]["value"] is not None
    assert rows["marginal_any", "auroc"]["value"] is None
    assert rows["other", "f1"]["value"] is None
    assert "0.5" in rows["other", "f1"]["note"]


@pytest.mark.slow
def test_samples_give_an_estimate_between_the_bounds(tmp_path: Path) -> None:
    """`point=mc` on coarse trees lies, on average, above the lower bound."""
    run(
        tmp_path, "--set", "llamaguard.eps=0.2", "--set", "mc_samples=32",
        "-s", "lower=marginal_any", "-s", "drawn=marginal_any,point=mc",
    )  # fmt: skip
    lines = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in (tmp_path / "run" / "predictions").glob("*/*/*.jsonl")
    }

    for lower, drawn in zip(lines["lower"], lines["drawn"], strict=True):
        assert lower["score"] - 1e-6 <= drawn["score"] <= drawn["upper"] + 1e-6
    assert sum(d["score"] for d in lines["drawn"]) >= sum(
        low["score"] for low in lines["lower"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stop=gapp", "did you mean 'gap'?"),
        ("original_top_p=1.5", "original_top_p=1.5 is no share"),
        ("width=0", "width=0 is below 1"),
    ],
)
def test_a_wrong_record_option_is_refused(
    tmp_path: Path, setting: str, message: str
) -> None:
    """Before any model is loaded."""
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "safebench",
            "run",
            "-c",
            "llamaguard",
            "--set",
            setting,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 2 == result.returncode
    assert message in result.stderr
