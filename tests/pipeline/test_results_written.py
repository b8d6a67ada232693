"""When rows reach the results table: once a dataset, and also after a failure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import safebench.results
from safebench.errors import SafebenchError
from safebench.pipeline.config import ComponentRef, RunConfig
from safebench.pipeline.runner import Runner
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.pipeline.evidence_set import Evaluation
    from safebench.results import Row

STRATEGIES = tuple(ComponentRef("score", f"score{i}") for i in range(4))


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return a run of one guard, read by four strategies."""
    monkeypatch.chdir(tmp_path)
    config = RunConfig(
        classifiers=(ComponentRef("keyword", "keyword"),),
        strategies=STRATEGIES,
        limit=30,
        out="r",
    )
    return Runner(config, Plugins(), lambda _: None)


def test_the_table_is_written_once_for_all_strategies(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A grid of many strategies must not read and write its table for each of them."""
    written: list[int] = []

    def counted(*args: Any) -> Any:
        written.append(len(args[1]))
        return merge(*args)

    merge = safebench.results.merge_rows
    monkeypatch.setattr(safebench.results, "merge_rows", counted)
    summary = runner.run()

    assert [len(summary.rows)] == written
    assert {f"score{i}" for i in range(4)} == {row.strategy for row in summary.rows}


def test_rows_of_strategies_before_a_failure_are_kept(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third of four strategies fails: the rows of two are in the table."""
    evaluate = runner.evaluator._evaluate

    def failing(evaluation: Evaluation, *rest: Any) -> list[Row]:
        if evaluation.strategy.label == "score2":
            raise SafebenchError("no judgements")
        return evaluate(evaluation, *rest)

    monkeypatch.setattr(runner.evaluator, "_evaluate", failing)
    with pytest.raises(SafebenchError, match="no judgements"):
        runner.run()

    lines = (runner.folder / "results.jsonl").read_text().splitlines()
    assert {"score0", "score1"} == {json.loads(line)["strategy"] for line in lines}
