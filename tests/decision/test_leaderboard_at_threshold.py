"""`leaderboard --threshold`: decided anew from stored scores, and never mixed."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from safebench.decision.rows_at_threshold import GivenThreshold, rows_at_threshold
from safebench.plugins import Plugins
from safebench.results import read_runs
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Run = Callable[..., Result]

pytestmark = pytest.mark.slow  # every test starts with a run
WORDS = ("bomb", "kill", "attack", "hack", "steal", "poison")
RUN = ("run", "-c", "keyword", "-d", "mine.jsonl", "--calibrate", "platt")


@pytest.fixture
def run(folder: Path, safebench: Run) -> Path:
    """Run the keyword list, with a calibrator, on texts of zero to three words."""
    rng = np.random.default_rng(4)
    lines = []
    for row in range(240):
        n_words = int(rng.integers(4))
        text = " ".join([*rng.choice(WORDS, n_words, replace=False), str(row)])
        label = "unsafe" if rng.random() < 0.2 + 0.2 * n_words else "safe"
        lines.append(json.dumps({"prompt": text, "label": label}) + "\n")
    (folder / "mine.jsonl").write_text("".join(lines), encoding="utf-8")
    ran = safebench(*RUN, "--out", "runs/one")
    assert 0 == ran.exit_code, ran.output
    return folder / "runs" / "one"


def metrics_of(result: Result) -> list[dict[str, Any]]:
    """Return the lines of a leaderboard in JSON."""
    assert 0 == result.exit_code, result.output
    lines: list[dict[str, Any]] = json.loads(result.stdout)
    return lines


def test_numbers_are_those_of_scikit_learn(run: Path, safebench: Run) -> None:
    """Decided by score >= threshold, raw and calibrated; ranks stay as they were."""
    common = ("leaderboard", "one", "--format", "json")
    plain = {li["calibrator"]: li for li in metrics_of(safebench(*common))}
    measured = safebench("threshold", "one", "--threshold", ".6", "--format", "json")
    reports = {
        report["strategy"]: report["sets"][0]["test"]["metrics"]
        for report in json.loads(measured.stdout)
    }

    for line in metrics_of(safebench(*common, "--threshold", ".6")):
        method = "+".join(filter(None, (line["strategy"], line["calibrator"])))
        (file,) = run.glob(f"predictions/*/*/{method}.jsonl")
        stored = [json.loads(text) for text in file.read_text("utf-8").splitlines()]
        test = [record for record in stored if record["part"] == "test"]
        y = [record["label"] for record in test]
        flagged = [record["score"] >= 0.6 for record in test]
        expected = {
            "recall": recall_score(y, flagged),
            "precision": precision_score(y, flagged),
            "f1": f1_score(y, flagged),
            "fpr": 1 - recall_score(y, flagged, pos_label=False),
        }
        assert 0.6 == line["threshold"]
        shown = {name: line["metrics"][name]["value"] for name in expected}
        assert expected == pytest.approx(shown)
        for name in ("recall", "fpr", "precision"):
            ends = [line["metrics"][name][end] for end in ("ci_low", "ci_high")]
            other = [reports[method][name][end] for end in ("low", "high")]
            assert other == pytest.approx(ends)
        before = plain[line["calibrator"]]["metrics"]
        assert before["auroc"] == line["metrics"]["auroc"]
        if line["calibrator"] is None:
            assert before["recall"]["value"] != shown["recall"]


@pytest.mark.usefixtures("run")
def test_at_the_threshold_of_the_run_nothing_changes(safebench: Run) -> None:
    """Values, intervals and notes are those of the stored rows, byte for byte."""
    common = ("leaderboard", "one", "--format", "json")
    again = metrics_of(safebench(*common, "--threshold", "0.5"))

    assert metrics_of(safebench(*common)) == [
        {name: value for name, value in line.items() if name != "threshold"}
        for line in again
    ]


@pytest.mark.usefixtures("run")
def test_a_prevalence_counts_the_same_decisions(safebench: Run) -> None:
    """Alerts per million follow from recall and FPR at the threshold."""
    at = ("--threshold", ".6", "--prevalence", ".01", "--format", "json")
    for line in metrics_of(safebench("leaderboard", "one", *at)):
        value = {name: cell["value"] for name, cell in line["metrics"].items()}
        alerts = 1e6 * (0.01 * value["recall"] + 0.99 * value["fpr"])
        assert value["alerts_per_million"] == pytest.approx(alerts)


@pytest.mark.usefixtures("run")
def test_every_form_says_the_threshold(folder: Path, safebench: Run) -> None:
    """Of a point the lines of its guard alone; tables name where it is from."""
    of = ("--of", "keyword/score+platt", "--max-fpr", ".3", "--save", "point.json")
    assert 0 == safebench("threshold", "one", *of).exit_code
    point = json.loads((folder / "point.json").read_text(encoding="utf-8"))

    common = ("leaderboard", "one", "--threshold", "point.json")
    (row,) = csv.DictReader(io.StringIO(safebench(*common, "--format", "csv").output))
    table = " ".join(safebench(*common).output.split())

    assert ("platt", point["threshold"]) == (row["calibrator"], float(row["threshold"]))
    assert float(row["fpr"]) == point["realised"][0]["metrics"]["fpr"]["value"]
    for text in (table, safebench(*common, "--format", "md").output):
        assert "decisions at a score from" in text
        assert "operating point point.json" in text
    assert "threshold" not in safebench("leaderboard", "one", "--format", "csv").output


def test_what_is_not_known_is_null_or_refused(
    run: Path, folder: Path, safebench: Run
) -> None:
    """A number that is none, a file that is none, rows without their predictions."""
    refused = {
        value: safebench("leaderboard", "one", "--threshold", value)
        for value in ("nan", "inf", "nothing.json")
    }
    (file,) = run.glob("predictions/*/*/score+platt.jsonl")
    file.unlink()
    at = ("--threshold", ".6", "--format", "json")
    lines = {
        line["calibrator"]: line["metrics"]
        for line in metrics_of(safebench("leaderboard", "one", *at))
    }
    assert 0 == safebench(*RUN, "--out", "runs/two", "--predictions", "none").exit_code

    assert all(2 == result.exit_code for result in refused.values())
    assert "no finite number" in refused["nan"].stderr
    assert "no operating point" in refused["nothing.json"].stderr
    assert lines[None]["recall"]["value"] is not None
    assert lines["platt"]["recall"]["value"] is None
    assert "predictions are not stored" in lines["platt"]["recall"]["note"]
    assert lines["platt"]["auroc"]["value"] is not None
    result = safebench("leaderboard", "two", "--threshold", ".6")
    assert 2 == result.exit_code
    assert "run again with --predictions jsonl" in result.stderr
    result = safebench("threshold", "two", "--max-fpr", ".3")
    assert 2 == result.exit_code
    assert "run again without `--predictions none`" in result.stderr


def test_a_point_of_another_guard_decides_nothing(
    run: Path, folder: Path, safebench: Run
) -> None:
    """Another word list under the same label: no number of its decisions."""
    of = ("--of", "keyword/score", "--max-fpr", ".3", "--save", "point.json")
    assert 0 == safebench("threshold", "one", *of).exit_code
    (folder / "words.txt").write_text("bomb\nkill\n", encoding="utf-8")
    other = ("run", "-c", "keyword,words=words.txt", "-d", "mine.jsonl")
    assert 0 == safebench(*other, "--out", "runs/other").exit_code

    at = ("--threshold", "point.json", "--format", "json")
    lines = metrics_of(safebench("leaderboard", "one", "other", *at))
    alone = safebench("leaderboard", "other", *at)

    value = {line["run"]: line["metrics"]["recall"]["value"] for line in lines}
    note = {line["run"]: line["metrics"]["recall"]["note"] for line in lines}
    assert value["one"] is not None
    assert value["other"] is None
    assert "another guard" in note["other"]
    assert 2 == alone.exit_code
    assert "another guard" in alone.stderr


def test_what_decided_in_the_run_is_not_said_of_other_decisions(run: Path) -> None:
    """A note on the run's own rule stays true: it says that it is of the run."""
    note = "the sign of the cost decides"
    rows = [
        replace(row, note="; ".join(filter(None, (row.note, note))))
        for row in read_runs([str(run)])
        if row.calibrator is None
    ]

    specs = Plugins().unambiguous(MetricSpec)
    notes = {
        row.metric: row.note
        for row in rows_at_threshold(rows, [run], GivenThreshold(0.6), specs)
    }

    assert f"in the run: {note}" == notes["recall"]
    assert note == notes["auroc"].rpartition("; ")[2]
