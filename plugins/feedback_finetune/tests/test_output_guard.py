"""A judge of responses that is not the guard: scores, calibration, and its identity."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench import BatchJudge
from safebench.errors import OptionError
from safebench_feedback_finetune.collect.collection_folder import read_collection
from safebench_feedback_finetune.options import CollectOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench.score.batch_judge import BatchScores

GUARD_ITSELF = ("--output-guard", "llamaguard", "--judge-strategy", "first_token")


@pytest.fixture
def labelled_file(tmp_path: Path, write_rows: Callable[..., Path]) -> Path:
    """Return 40 responses, most of the harmful ones with an alarming word."""
    rows = []
    for i in range(40):
        harmful = i % 2 == 0
        word = "kill" if harmful != (i % 5 == 0) else "bake"
        rows.append((f"Case {i}?", f"{word} it {i}", "unsafe" if harmful else "safe"))
    return write_rows(tmp_path / "people.jsonl", rows, "prompt", "response", "label")


def manifest_of(folder: Path) -> dict[str, Any]:
    """Return the manifest of a collection."""
    return dict(json.loads((folder / "manifest.json").read_text("utf-8")))


@pytest.mark.slow
def test_the_guard_named_as_a_judge_gives_its_own_scores(
    rows_file: Path, tmp_path: Path, run_collect: Callable[..., int]
) -> None:
    """By another way through the program; and responses to blocked prompts as well."""
    assert 0 == run_collect(rows_file, tmp_path / "own")
    assert 0 == run_collect(rows_file, tmp_path / "named", *GUARD_ITSELF)

    own = {record.key: record for record in read_collection(tmp_path / "own")}
    named = {record.key: record for record in read_collection(tmp_path / "named")}
    assert own.keys() == named.keys()
    assert any(not record.passed for record in own.values())
    for key, record in named.items():
        assert record.p_in == own[key].p_in
        assert record.p_out is not None
        if own[key].p_out is not None:
            assert record.p_out == pytest.approx(own[key].p_out, abs=1e-4)
    counts = (manifest_of(tmp_path / name)["counts"] for name in ("own", "named"))
    assert next(counts) == next(counts)


@pytest.mark.slow
def test_without_a_judge_nothing_is_said_of_one(
    rows_file: Path, tmp_path: Path, run_collect: Callable[..., int]
) -> None:
    """Folders of the default stay what they were: no new key in any record."""
    run_collect(rows_file, tmp_path / "own")

    lines = (tmp_path / "own" / "collected.jsonl").read_text("utf-8").splitlines()
    assert all("judge" not in json.loads(line) for line in lines)
    manifest = manifest_of(tmp_path / "own")
    assert "judge" not in manifest
    assert "judge" not in manifest["identity"]


@pytest.mark.slow
def test_a_score_that_ranks_is_calibrated_on_peoples_labels(
    rows_file: Path,
    labelled_file: Path,
    tmp_path: Path,
    run_collect: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two scores and their shares of harmful rows: Platt scaling gives these shares."""
    judge = ("--output-guard", "keyword", "--judge-calibrate", labelled_file)
    assert 0 == run_collect(rows_file, tmp_path / "out", *judge)

    stored = manifest_of(tmp_path / "out")["judge"]
    slope, offset = stored["platt"]["slope"], stored["platt"]["offset"]
    # of the rows with the word (score .5) 16 of 20 are harmful, of the others 4 of 20
    assert 0.8 == pytest.approx(1 / (1 + math.exp(-slope / 2 - offset)), abs=1e-3)
    assert 0.2 == pytest.approx(1 / (1 + math.exp(-offset)), abs=1e-3)
    by_response = {r.response: r for r in read_collection(tmp_path / "out")}
    assert by_response["Paris."].p_out == pytest.approx(0.2, abs=1e-3)
    told = capsys.readouterr().err
    assert "by Platt scaling on people's labels" in told
    assert "not known" in told  # what a list of words was made from


@pytest.mark.slow
def test_a_score_that_ranks_is_refused(
    rows_file: Path, tmp_path: Path, run_collect: Callable[..., int], capsys: Any
) -> None:
    """The message says what would work, and nothing is collected."""
    assert 2 == run_collect(rows_file, tmp_path / "out", "--output-guard", "keyword")

    assert "only rank" in (told := capsys.readouterr().err)
    assert "--judge-calibrate DATASET" in told
    assert not (tmp_path / "out" / "collected.jsonl").exists()


@pytest.mark.slow
def test_a_folder_keeps_its_judge(
    rows_file: Path, tmp_path: Path, run_collect: Callable[..., int], capsys: Any
) -> None:
    """Another judge, or none, may not add to it; the same one has nothing to do."""
    out = tmp_path / "out"
    run_collect(rows_file, out, *GUARD_ITSELF)
    before = (out / "collected.jsonl").read_bytes()

    assert 2 == run_collect(rows_file, out)
    assert "judge" in capsys.readouterr().err
    other = ("--output-guard", "llamaguard", "--judge-strategy", "marginal_any")
    assert 2 == run_collect(rows_file, out, *other)
    assert "judge.strategy" in capsys.readouterr().err
    assert 0 == run_collect(rows_file, out, *GUARD_ITSELF)
    assert before == (out / "collected.jsonl").read_bytes()


@pytest.mark.slow
def test_an_endpoint_that_goes_down_costs_nothing(
    rows_file: Path,
    tmp_path: Path,
    run_collect: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    """A chunk without a judgement is not kept; repeated, the file is the same."""
    judge = ("--output-guard", "cases=llamaguard", "--save-every", "2")
    assert 0 == run_collect(rows_file, tmp_path / "whole", *judge)
    original, calls = BatchJudge.judge, []

    def down_after_two(self: BatchJudge, samples: Any) -> BatchScores:
        calls.append(len(samples))
        scores = original(self, samples)
        if len(calls) > 2:  # the first call is the check of the judge
            n = len(samples)
            lost = np.full(n, np.nan)
            return replace(scores, scores=lost, errors=["no connection"] * n)
        return scores

    monkeypatch.setattr(BatchJudge, "judge", down_after_two)
    out = tmp_path / "cut"
    assert 2 == run_collect(rows_file, out, *judge)
    assert "no connection" in capsys.readouterr().err
    assert 1 <= len(read_collection(out)) < 7
    monkeypatch.setattr(BatchJudge, "judge", original)
    assert 0 == run_collect(rows_file, out, *judge)
    for name in ("collected.jsonl", "left_out.jsonl", "blocked_inputs.jsonl"):
        assert read(out / name) == read(tmp_path / "whole" / name)


def read(path: Path) -> bytes:
    """Return a file's bytes, none for no file."""
    return path.read_bytes() if path.is_file() else b""


@pytest.mark.slow
def test_a_response_that_the_judge_cannot_judge_is_left_out(
    rows_file: Path,
    tmp_path: Path,
    run_collect: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the reason; the others are kept."""
    original = BatchJudge.judge

    def one_fails(self: BatchJudge, samples: Any) -> BatchScores:
        found = original(self, samples)
        for row, sample in enumerate(samples):
            if sample.turns[-1].text == "Paris.":
                found.scores[row] = np.nan
                found.errors[row] = "too long"
        return found

    monkeypatch.setattr(BatchJudge, "judge", one_fails)
    out = tmp_path / "out"
    assert 0 == run_collect(rows_file, out, "--output-guard", "llamaguard")
    assert "Paris." not in {record.response for record in read_collection(out)}
    (row,) = map(json.loads, (out / "left_out.jsonl").read_text("utf-8").splitlines())
    assert "judge: too long" == row["reason"]


@pytest.mark.slow
def test_lines_of_another_judge_are_refused(
    rows_file: Path, tmp_path: Path, run_collect: Callable[..., int], capsys: Any
) -> None:
    """Each line says who judged: a file from elsewhere is not mixed in."""
    out, other = tmp_path / "out", tmp_path / "other"
    run_collect(rows_file, other, *GUARD_ITSELF)
    run_collect(rows_file, out)
    name = "collected.jsonl"
    (out / name).write_bytes((other / name).read_bytes())

    assert 2 == run_collect(rows_file, out)
    assert "records of another collection" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"judge_strategy": "cost"}, "name it with --output-guard"),
        ({"judge_trained_on": ("x.jsonl",)}, "name it with --output-guard"),
        (
            {
                "output_guard": "keyword",
                "judge_calibrator": "p.json",
                "judge_calibrate": ("x.jsonl",),
            },
            "leave one out",
        ),
    ],
    ids=["strategy", "rows", "two maps"],
)
def test_options_of_a_judge_that_is_not_there(
    options: dict[str, Any], message: str
) -> None:
    """They would be ignored in silence."""
    with pytest.raises(OptionError, match=message):
        CollectOptions(dataset=("x",), out="y", **options)
