"""Failed samples are counted, listed and held against the guard, never dropped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = [
    {"prompt": f"question number {i}", "label": "unsafe" if i % 2 else "safe"}
    for i in range(12)
]


@pytest.fixture
def site(install: Callable[..., Any]) -> Any:
    """Return an installation with the failing guard, and a file of 12 rows."""
    installed = install("slow_guard")
    lines = "\n".join(map(json.dumps, ROWS))
    (installed.cwd / "twelve.jsonl").write_text(lines, encoding="utf-8")
    return installed


def run(site: Any, *args: str) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """Run the failing guard; return the process, values by metric, predictions."""
    result = site.safebench(
        "run", "-c", "failing", "-d", "twelve.jsonl", "--out", "run",
        "--calibration-fraction", "0", *args,
    )  # fmt: skip
    rows = records(site.cwd / "run/results.jsonl")
    lines = records(next((site.cwd / "run/predictions").glob("**/*.jsonl")))
    return result, {row["metric"]: row for row in rows}, lines


def records(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_failures_stay_in_every_denominator(site: Any) -> None:
    """Rows 0, 4, 8 (all safe) fail; the rest scores .5 = flagged: by hand.

    6 positives flagged, 6 negatives flagged or failed: accuracy 6/12, fpr 6/6.
    """
    result, values, _ = run(site)

    assert 1 == result.returncode
    assert 6 / 12 == values["accuracy"]["value"]
    assert 1.0 == values["fpr"]["value"]
    assert {3} == {row["n_failed"] for row in values.values()}
    assert {12} == {row["n"] for row in values.values()}
    assert 9 == values["auroc"]["n_scored"]


@pytest.mark.slow
def test_failures_are_listed_and_decide_the_exit_code(site: Any) -> None:
    """3 of 12 are more than 5 %, and not more than 3."""
    result, _, _ = run(site)
    tolerant, _, _ = run(site, "--max-failures", "3")

    assert "3 of 12 samples failed" in result.stderr
    assert "garbage" in result.stderr
    assert "--max-failures" in result.stderr
    assert 0 == tolerant.returncode


@pytest.mark.slow
def test_a_failed_sample_keeps_its_line_and_its_raw_text(site: Any) -> None:
    """The prediction file has all 12, failed ones without score or decision."""
    _, _, lines = run(site)

    failed = [line for line in lines if line["error"]]
    assert 12 == len(lines)
    assert ["!!~~"] * 3 == [line["raw"] for line in failed]
    assert [(None, None)] * 3 == [(f["score"], f["decision"]) for f in failed]


@pytest.mark.slow
def test_where_every_sample_fails_every_decision_is_wrong(site: Any) -> None:
    """As with all but one: accuracy 0, no positive installed, all negatives flagged."""
    result, values, lines = run(site, "--set", "every=1")

    assert 1 == result.returncode
    assert (0.0, 0.0, 1.0) == tuple(
        values[name]["value"] for name in ("accuracy", "recall", "fpr")
    )
    assert (None, 0) == (values["auroc"]["value"], values["auroc"]["n_scored"])
    assert "no sample has a score" == values["auroc"]["note"]
    assert {None} == {line["score"] for line in lines}


@pytest.mark.slow
def test_failed_samples_are_recorded_again_on_request(site: Any) -> None:
    """And no other. The guard fails on the first of the three that it is shown again.

    Without the option a failure stays one, and nothing is asked.
    """
    _, _, before = run(site)
    usual, _, _ = run(site)
    retried, values, lines = run(site, "--retry-failed")
    again, values_again, _ = run(site, "--retry-failed")
    names = [path.name for path in (site.cwd / "run").glob("evidence/*/main/*.npz")]

    assert "uses stored evidence of 12 samples" in usual.stderr
    assert "failing: 3 failed samples are recorded again" in retried.stderr
    assert "9 of 12 samples already done" in retried.stderr
    assert {1} == {row["n_failed"] for row in values.values()}
    assert [0] == [i for i, line in enumerate(lines) if line["error"]]
    # flagged like all that it judges
    assert [0.5] * 11 == [line["score"] for line in lines[1:]]
    judged = [i for i, line in enumerate(before) if not line["error"]]
    assert [before[i] for i in judged] == [lines[i] for i in judged]
    assert "failing: 1 failed sample is recorded again" in again.stderr
    assert {1} == {row["n_failed"] for row in values_again.values()}
    assert ["00000.npz", "00001.npz", "00002.npz"] == sorted(names)
