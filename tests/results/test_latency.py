"""Percentiles of the time of single samples: rows, tables, combinations, fronts."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.combination.latency import combined_latency
from safebench.metrics.catalog import SPECS
from safebench.reporters.leaderboard import build_leaderboard
from safebench.results.latency import (
    LatencyLog,
    MeasuredSample,
    latency_lines,
    latency_rows,
    unknown_latency_rows,
)
from safebench.results.pareto import pareto
from safebench.testing.result_rows import result_row

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.results import Row

SHARED = {
    "run": "r", "classifier": "guard", "model": "m", "strategy": "s", "dataset": "set",
    "split": "test", "task": "prompt_harm", "n": 100, "evidence_key": "k",
    "latency_mode": "batched",
}  # fmt: skip


def measured(*seconds: float | None) -> list[MeasuredSample]:
    """Return times of samples without relatives."""
    return [MeasuredSample(taken, str(place)) for place, taken in enumerate(seconds)]


def test_percentiles_are_of_samples_that_were_answered() -> None:
    """As NumPy has them; failed samples are counted in the note."""
    seconds = np.random.default_rng(0).exponential(size=80)

    p50, p95 = latency_rows(SHARED, measured(*seconds, None, None), "how")

    assert ("latency_p50", "latency_p95") == (p50.metric, p95.metric)
    assert p50.value == pytest.approx(np.percentile(seconds, 50))
    assert p95.value == pytest.approx(np.percentile(seconds, 95))
    assert {p50.ci_low, p50.ci_high, p95.ci_low, p95.ci_high} <= {*seconds}
    assert "order statistics, 80 groups" == p95.ci_method
    assert ("single", 80, False) == (
        p50.latency_mode,
        p50.n_scored,
        p50.higher_is_better,
    )
    assert "how; 2 of 82 failed and are left out" == p50.note


@pytest.mark.parametrize(
    ("seconds", "values", "reasons"),
    [
        ([1.0] * 19, [1.0, None], ["", "needs 20 samples, there are 19"]),
        ([None], [None, None], ["no sample was answered"] * 2),
        ([], [None, None], ["no sample was answered"] * 2),
        ([1.0] * 20, [1.0, 1.0], ["", ""]),
    ],
)
def test_what_is_unknown_has_a_reason(
    seconds: list[float | None], values: list[float | None], reasons: list[str]
) -> None:
    """No percentile of 95 is made of fewer than twenty samples."""
    rows = latency_rows(SHARED, measured(*seconds), "how")

    assert values == [row.value for row in rows]
    for row, reason in zip(rows, reasons, strict=True):
        assert reason in row.note
    assert rows[1].ci_low is None


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Changed, it is none."""
    log = LatencyLog({"cpus": 2}, 3, {"main": {"a:prompt_harm": 0.5, "b:x": None}})
    log.write(tmp_path)
    assert log == LatencyLog.read(tmp_path)
    assert LatencyLog.read(tmp_path / "nowhere") is None

    path = tmp_path / "latency.json"
    path.write_text(path.read_text().replace("0.5", "0.7"))
    with pytest.raises(ValueError, match="checksum"):
        LatencyLog.read(tmp_path)


# ------------------------------------------------------------------ combinations
TEXTS = ["a", "b", "c", "c", "d"]  # the third and fourth read the same
FIRST = {"a": 1.0, "b": 2.0, "c": 3.0}
SECOND = {"a": 10.0, "c": 30.0, "d": 40.0, "b": None}


def write_log(
    run: Path, key: str, times: dict[str, float | None], **where: Any
) -> None:
    """Write what was measured of one part."""
    folder = run / "evidence" / key
    folder.mkdir(parents=True)
    of_task = {f"{text}:prompt_harm": taken for text, taken in times.items()}
    LatencyLog({"cpus": 2} | where, 3, {"main": of_task}).write(folder)


def parts_of(run: Path, *keys: str) -> tuple[list[Any], list[Any], Any]:
    """Return files, heads and samples of parts with evidence of these keys."""
    files = [SimpleNamespace(run=run, label=f"part{i}") for i, _ in enumerate(keys)]
    heads = [SimpleNamespace(evidence_key=key) for key in keys]
    tasks = ["prompt_harm"] * len(TEXTS)
    return files, heads, SimpleNamespace(content=TEXTS, task=tasks, groups=TEXTS)


def combined(run: Path, asked: list[list[bool]], *keys: str) -> Any:
    """Return the times of a combination on all samples."""
    files, heads, samples = parts_of(run, *keys)
    counted = np.ones(len(TEXTS), dtype=bool)
    return combined_latency(files, heads, samples, np.array(asked), counted)


def test_a_cascade_takes_the_time_of_the_parts_that_are_asked(tmp_path: Path) -> None:
    """A sample that is not measured of every part counts nowhere; a text once."""
    write_log(tmp_path, "k1", FIRST)
    write_log(tmp_path, "k2", SECOND)
    asked = [[True] * 5, [False, True, True, True, False]]

    times = combined(tmp_path, asked, "k1", "k2")

    # a: the first part alone; b: the second part failed; c: both; d: not of the first
    assert [("a", 1.0), ("b", None), ("c", 33.0)] == [
        (sample.group, sample.seconds) for sample in times
    ]


def test_parts_that_read_one_recording_pay_once(tmp_path: Path) -> None:
    """Two strategies of one guard."""
    write_log(tmp_path, "k1", FIRST)

    times = combined(tmp_path, [[True] * 5] * 2, "k1", "k1")

    assert [1.0, 2.0, 3.0] == [sample.seconds for sample in times]


def test_why_a_combination_has_no_latency(tmp_path: Path) -> None:
    """Not measured, measured elsewhere, of other samples, or of several recordings."""
    write_log(tmp_path, "k1", {"a": 1.0})
    write_log(tmp_path, "k2", {"b": 1.0})
    write_log(tmp_path, "other", {"a": 1.0}, cpus=4)
    (tmp_path / "evidence" / "many").mkdir()
    LatencyLog({"cpus": 2}, 3, {"main": {}, "main.Other": {}}).write(
        tmp_path / "evidence" / "many"
    )
    both = [[True] * 5] * 2

    assert "not measured of part1" in combined(tmp_path, both, "k1", "none")
    assert "on different machines" in combined(tmp_path, both, "k1", "other")
    assert "no sample was measured of every" in combined(tmp_path, both, "k1", "k2")
    assert "several recordings" in combined(tmp_path, both, "many", "k1")
    damaged = tmp_path / "evidence" / "k1" / "latency.json"
    damaged.write_text(damaged.read_text().replace("1.0", "9.0"))
    assert "cannot be read" in combined(tmp_path, both, "k1", "k2")


# ------------------------------------------------------------------------ tables
def cell(name: str, metric: str, value: float | None, **fields: Any) -> Row:
    """Return a row of a guard that is as good as the others."""
    return result_row(
        classifier=name, metric=metric, value=value,
        higher_is_better=metric == "auroc", **fields,
    )  # fmt: skip


def test_a_table_shows_what_was_measured_and_why_not() -> None:
    """Short times do not all read as 0, and the shortest is the best."""
    rows = [
        cell("slow", "auroc", 0.9), cell("slow", "latency_p95", 0.00042),
        cell("quick", "auroc", 0.8), cell("quick", "latency_p95", 0.00011),
        cell("none", "auroc", 0.7),
    ]  # fmt: skip

    table = build_leaderboard(
        rows, metrics=["auroc", "latency_p95"], sort="latency_p95"
    )

    assert ["quick", "slow", "none"] == [line.classifier for line in table.lines]
    cells = [line.cells[1] for line in table.lines]
    assert [True, False, False] == [c.best for c in cells]
    assert "run again with --latency N" in cells[2].note


def test_all_costs_have_one_name() -> None:
    """With the words that other commands have for them."""
    table = build_leaderboard([cell("a", "auroc", 0.9)], metrics=["auroc", "costs"])
    assert (
        "auroc", "samples_per_second", "latency_p50", "latency_p95", "forward_passes",
        "tokens", "peak_memory_mib",
    ) == table.metrics  # fmt: skip

    other = build_leaderboard([cell("a", "auroc", 0.9)], metrics=["prompts_per_second"])
    assert ("samples_per_second",) == other.metrics


def test_the_end_of_a_run_has_a_line_of_each_recording() -> None:
    """Strategies that read the same recording say nothing new."""
    rows = [
        row
        for name in ("one", "two")
        for row in latency_rows(
            {**SHARED, "strategy": name}, measured(0.5, 0.25, 1.0), "how"
        )
    ]

    assert [
        "guard on set:test: latency p50 0.5 s, p95 not known (3 samples, one at a time)"
    ] == latency_lines(rows)


def test_a_front_of_quality_and_latency() -> None:
    """The slow and bad one is beaten; what was not measured is left out, with why."""
    spec = next(spec for spec in SPECS if spec.name == "auroc")
    rows = [
        cell("good", "auroc", 0.9), cell("good", "latency_p95", 2.0, ci_low=1.0,
                                         ci_high=3.0),
        cell("quick", "auroc", 0.8), cell("quick", "latency_p95", 1.0),
        cell("bad", "auroc", 0.7), cell("bad", "latency_p95", 3.0),
        cell("unknown", "auroc", 0.95),
        cell("null", "auroc", 0.95), cell("null", "latency_p95", None, note="why not"),
    ]  # fmt: skip

    result = pareto(rows, [], spec, "latency_p95")

    (front,) = result.fronts
    beaten_by = {cell.classifier: cell.dominated_by for cell in front.cells}
    assert {"good": None, "quick": None, "bad": "good/greedy"} == beaten_by
    assert (1.0, 3.0) == (front.cells[1].cost_low, front.cells[1].cost_high)
    reasons = {name: reason for name, _, reason in result.left_out}
    assert "run again with --latency" in reasons["unknown/greedy"]
    assert "why not" == reasons["null/greedy"]


def test_unknown_rows_say_why() -> None:
    """One a percentile."""
    rows = unknown_latency_rows(SHARED, "why")

    assert [("latency_p50", None, "why"), ("latency_p95", None, "why")] == [
        (row.metric, row.value, row.note) for row in rows
    ]
    assert json.loads(json.dumps(rows[0].latency_mode)) == "single"
