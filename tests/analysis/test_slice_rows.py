"""Gaps as rows: stored on request, beside whole sets, and gone with what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import recall_score

from safebench.analysis import slice_gaps
from safebench.cli import cli
from safebench.plugins import Plugins
from safebench.results import merge_rows, read_rows
from safebench.results.slices import column_of, slice_name
from safebench.testing.result_rows import result_row

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def invoke(*words: object) -> Result:
    """Run a command of safebench."""
    return CliRunner().invoke(cli, [str(word) for word in words], obj=Plugins())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run of the keyword guard, which misses French, on three languages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slice_gaps, "N_PERMUTATIONS", 199)
    rng = np.random.default_rng(1)
    rows = []
    for number in range(310):
        language = "nl" if number < 10 else ("en", "fr")[number % 2]
        harmful = bool(number // 2 % 2)
        words = "how to make a bomb" if harmful and language == "en" else "un gateau"
        noise = " ".join(map(str, rng.integers(0, 10**6, 6)))
        row = {"id": number, "prompt": f"{words} {noise}", "label": int(harmful)}
        rows.append(row | {"language": language})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "set.jsonl").write_text(text)
    made = repeat(tmp_path / "run")
    assert made.exit_code == 0, made.output
    return tmp_path / "run"


def repeat(run: Path, *words: str) -> Result:
    """Return the run, made (again)."""
    return invoke("run", "-c", "keyword", "-d", "set.jsonl", "--out", run, *words)


@pytest.mark.slow
def test_rows_of_slices(run: Path) -> None:
    """Stored beside whole sets; every other table stays, `--slice` shows them."""
    tables: list[list[object]] = [
        ["leaderboard", run, "--format", "json"],
        ["pareto", run, "--format", "json"],
        ["gate", run, "--min", "recall=0.1"],
        ["threshold", run, "--max-fpr", ".2", "--format", "json"],
        ["leaderboard", run, "--threshold", ".5", "--format", "json"],
        ["leaderboard", run, "--prevalence", ".01", "--format", "json"],
    ]
    before = [invoke(*words).output for words in tables]
    whole = (run / "results.jsonl").read_bytes()
    gaps: list[object] = ["analyze", run, "--gaps", "--slice", "language"]
    analyzed = json.loads(invoke(*gaps, "--format", "json").stdout)
    assert whole == (run / "results.jsonl").read_bytes()

    saved = invoke(*gaps, "--save")
    assert saved.exit_code == 0, saved.output
    stored = (run / "results.jsonl").read_bytes()
    assert stored.startswith(whole)
    invoke(*gaps, "--save")
    assert stored == (run / "results.jsonl").read_bytes()
    assert repeat(run).exit_code == 0
    assert stored == (run / "results.jsonl").read_bytes()
    assert before == [invoke(*words).output for words in tables]

    rows = [row for row in read_rows(run / "results.jsonl") if row.slice]
    by_name = {(row.slice, row.metric): row for row in rows}
    gap = by_name["language", "recall_gap"]
    of = analyzed["combinations"][0]["gaps"]
    expected = next(gap for gap in of if gap["metric"] == "recall")
    assert (gap.value, gap.ci_low, gap.ci_high) == tuple(
        expected[name] for name in ("gap", "low", "high")
    )
    assert "not by chance: fr" in gap.note
    assert "without nl" in gap.note
    lines = [
        json.loads(line)
        for path in run.glob("predictions/*/*/score.jsonl")
        for line in path.read_text().splitlines()
    ]
    of_en = [
        line
        for line in lines
        if line["part"] == "test" and line["columns"]["language"] == "en"
    ]
    y = [line["label"] for line in of_en]
    english = by_name["language=en", "recall"]
    assert english.value == recall_score(y, [line["decision"] for line in of_en])
    assert (english.n, english.n_pos, english.n_neg) == (
        *(len(y), sum(y), len(y) - sum(y)),
    )
    assert english.n_scored == sum(y)
    assert english.forward_passes is None
    shown = json.loads(
        invoke("leaderboard", run, "--slice", "Language", "--format", "json").stdout
    )
    assert {line["slice"]: line["metrics"]["recall"]["value"] for line in shown} == {
        "language": None,
        "language=en": english.value,
        "language=fr": by_name["language=fr", "recall"].value,
    }
    assert shown[0]["metrics"]["recall_gap"]["value"] == gap.value

    # other decisions: what was said of the old ones leaves
    again = repeat(run, "-s", "score,threshold=0.99")
    assert again.exit_code == 0, again.output
    assert not any(row.slice for row in read_rows(run / "results.jsonl"))


@pytest.mark.parametrize(
    ("change", "stays"),
    [
        ({}, True),
        ({"seconds": 3.0, "versions": {"numpy": "2"}, "ci_low": 0.1}, True),
        ({"metric": "f1", "value": 0.1}, True),
        ({"dataset": "other", "value": 0.1}, True),
        ({"calibrator": "platt", "value": 0.1}, True),
        ({"value": 0.6}, False),
        ({"threshold": 0.7}, False),
        ({"metric": "f1", "threshold": 0.7}, False),
        ({"n": 9}, False),
        ({"data_hash": "b"}, False),
        ({"evidence_key": "b"}, False),
        ({"value": None, "n_scored": 0}, False),
    ],
)
def test_slices_leave_with_what_they_were_cut_from(
    change: dict[str, Any], stays: bool, tmp_path: Path
) -> None:
    """A new row of the whole set that says something else takes its slices along."""
    path = tmp_path / "results.jsonl"
    whole = result_row(evidence_key="a", data_hash="a")
    sliced = replace(whole, slice="language=en", value=0.9)
    merge_rows(path, [whole, sliced])
    merge_rows(path, [replace(whole, **change)])

    assert (sliced in read_rows(path)) == stays


def test_another_column_stays(tmp_path: Path) -> None:
    """The first equals sign ends a column, also where its name has one."""
    names = [("a", None), ("a", "b=c"), ("a=b", "c"), ("a%3Db", "c"), ("x=", None)]
    texts = [slice_name(*name) for name in names]
    assert len(set(texts)) == len(texts)
    columns = [column_of(result_row(slice=text)) for text in texts]
    assert columns == [column for column, _ in names]


@pytest.mark.slow
def test_refusals(run: Path) -> None:
    """In one line, with what would work."""
    none = invoke("leaderboard", run, "--slice", "language")
    alone = invoke("analyze", run, "--save")
    part = invoke("analyze", run, "--gaps", "--save", "--part", "all")
    both = invoke("leaderboard", run, "--slice", "language", "--prevalence", ".1")
    (run / "results.jsonl").rename(run / "gone")
    unfinished = invoke("analyze", run, "--gaps", "--save")

    assert f"safebench analyze {run} --gaps --slice language --save" in none.output
    assert "name --gaps, too" in alone.output
    assert "leave out --part all" in part.output
    assert "leave out --prevalence or --slice" in both.output
    assert "no results.jsonl" in unfinished.output
    failed = [none, alone, part, both, unfinished]
    assert all(result.exit_code == 2 for result in failed)
