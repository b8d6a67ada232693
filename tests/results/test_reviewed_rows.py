"""Numbers with reviewed labels, beside those of the run, against scikit-learn."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import f1_score, roc_auc_score

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench.results.review_marks import LabelMark, ReviewedSample, store_mark
from safebench.results.reviewed_labels import OF_CATEGORIES, OF_PAIRS
from safebench.results.rows import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]

RUN = Path("runs/a")
PLUGINS = Plugins()
METRICS = "auroc,f1,accuracy"
ROW = {
    "run": "a",
    "classifier": "guard",
    "model": "org/guard",
    "strategy": "greedy",
    "dataset": "set",
    "split": "test",
    "task": "prompt_harm",
    "higher_is_better": True,
    "n": 200,
    "threshold": 0.5,
    "threshold_from": "fixed",
}


def ask(*words: str) -> Result:
    """Show the leaderboard of the run."""
    words = ("leaderboard", RUN.as_posix(), *words)
    return CliRunner().invoke(cli, words, obj=PLUGINS)


def review(row: int, label: Any, word: str, **fields: Any) -> None:
    """Mark the label of a sample as `conftest.prediction` writes it."""
    names = {"dataset": "set", "config": None, "split": "test", "task": "prompt_harm"}
    names |= {"id": f"set/test/{row}", "content": f"content-{row}"} | fields
    sample = ReviewedSample(**names)
    store_mark(RUN, LabelMark(sample=sample, label=bool(label), mark=word))


@pytest.fixture
def run(write: Write, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """Write a run of one guard; return its labels and scores."""
    y, score, _ = scores
    write("a", "guard/greedy", y, score)
    rows = [ROW | {"metric": name, "value": 0.125} for name in METRICS.split(",")]
    rows += [
        ROW | {"metric": "micro_f1", "value": 0.25},
        ROW | {"metric": "sign_accuracy", "value": 0.25},
        ROW | {"metric": "of_a_plugin", "value": 0.25},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (RUN / "results.jsonl").write_text(text, "utf-8")
    return y, score


def test_wrong_labels_are_turned_round_and_unclear_ones_left_out(run: Any) -> None:
    """Both numbers stand beside each other; scikit-learn gives the same."""
    y, score = run
    changed = y.copy()
    changed[:7] = ~changed[:7]
    for row in range(12):
        review(row, y[row], "wrong" if row < 7 else "unclear")
    kept = np.arange(200) >= 12
    kept[:7] = True

    result = ask("--labels", "reviewed", "--format", "json", "--metrics", METRICS)

    stored, reviewed = json.loads(result.stdout)
    assert "labels" not in stored
    assert {0.125} == {cell["value"] for cell in stored["metrics"].values()}
    truth, decided = changed[kept], score[kept] >= 0.5
    expected = {
        "auroc": roc_auc_score(truth, score[kept]),
        "f1": f1_score(truth, decided),
        "accuracy": (truth == decided).mean(),
    }
    cells = reviewed["metrics"]
    assert expected == pytest.approx({name: cells[name]["value"] for name in expected})
    assert all(c["ci_low"] < c["value"] < c["ci_high"] for c in cells.values())
    assert (195, int(truth.sum()), "reviewed") == (
        reviewed["n"], reviewed["n_pos"], reviewed["labels"],
    )  # fmt: skip
    counts = {name: reviewed[f"n_{name}"] for name in ("reviewed", "wrong", "unclear")}
    assert {"reviewed": 12, "wrong": 7, "unclear": 5} == counts


def test_what_marks_do_not_say_is_null_with_a_reason(run: Any) -> None:
    """Categories, pairs, and what no installed metric computes."""
    y, _ = run
    review(0, y[0], "wrong")

    result = ask(
        "--labels", "reviewed", "--format", "json",
        "--metrics", "micro_f1,sign_accuracy,of_a_plugin",
    )  # fmt: skip

    stored, reviewed = json.loads(result.stdout)
    assert {0.25} == {cell["value"] for cell in stored["metrics"].values()}
    assert {None} == {cell["value"] for cell in reviewed["metrics"].values()}
    notes = {name: cell["note"] for name, cell in reviewed["metrics"].items()}
    assert (OF_CATEGORIES, OF_PAIRS) == (notes["micro_f1"], notes["sign_accuracy"])
    assert "no installed metric" in notes["of_a_plugin"]


def test_labels_that_are_all_right_change_no_number(run: Any) -> None:
    """Not even of what could not be computed again."""
    y, _ = run
    for row in range(5):
        review(row, y[row], "right")

    result = ask(
        "--labels", "reviewed", "--format", "json", "--metrics", "auroc,micro_f1"
    )

    stored, reviewed = json.loads(result.stdout)
    assert stored["metrics"] == reviewed["metrics"]
    assert 5 == reviewed["n_right"]


def test_marks_of_what_is_not_there_any_more_are_counted(
    run: Any, write: Write, scores: Any
) -> None:
    """Of another text, another label, no sample, or the calibration part."""
    y, score = run
    write("a", "guard/greedy", y, score, columns=None)
    path = RUN / "predictions/guard/set.test/greedy.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    held_out = lines[3] | {"id": "held", "content": "held", "part": "calibration"}
    text = "".join(json.dumps(line) + "\n" for line in [*lines, held_out])
    path.write_text(text, "utf-8")
    review(0, y[0], "right")
    review(1, y[1], "wrong", content="another text")
    review(2, not y[2], "wrong")
    review(1000, y[0], "wrong")
    review(0, y[3], "wrong", id="held", content="held")

    result = ask("--labels", "reviewed", "--format", "json", "--metrics", METRICS)

    _, reviewed = json.loads(result.stdout)
    said = {n: reviewed[f"n_{n}"] for n in ("reviewed", "changed", "vanished")}
    assert {"reviewed": 1, "changed": 2, "vanished": 1} == said
    assert 1 == reviewed["n_held_out"]
    shown = ask("--labels", "reviewed").output
    for words in ("2 of texts or labels", "1 of samples that", "1 of the calibration"):
        assert words in " ".join(shown.split())


@pytest.mark.parametrize("form", ["table", "md", "latex", "html", "csv", "json"])
def test_every_format_says_how_labels_were_reviewed(run: Any, form: str) -> None:
    """Marks on errors alone make numbers too good; a fair part is not accused."""
    y, score = run
    wrong = np.flatnonzero(y != (score >= 0.5))
    for row in wrong[:10]:
        review(int(row), y[row], "wrong")
    share = f"10 of {len(wrong)}"

    text = ask("--labels", "reviewed", "--format", form).output

    if form == "json":
        facts = json.loads(text)[1]
        assert (10, 0) == (facts["errors_reviewed"], facts["others_reviewed"])
        assert (len(wrong), 200 - len(wrong)) == (facts["errors"], facts["others"])
        return
    if form == "csv":
        facts = list(csv.DictReader(io.StringIO(text)))[1]
        assert ("reviewed", "10") == (facts["labels"], facts["errors_reviewed"])
        return
    folded = " ".join(text.replace("%  ", "").split())
    assert f"{share} ({10 / len(wrong):.0%}) of the errors" in folded
    assert f"0 of {200 - len(wrong)} (0%) of the right decisions" in folded
    assert "too good" in folded
    assert "reviewed labels" in folded


def test_a_fair_part_is_not_called_selected(run: Any) -> None:
    """Fifty labels from the beginning of a set in no order."""
    y, _ = run
    for row in range(50):
        review(row, y[row], "right")

    folded = " ".join(ask("--labels", "reviewed").output.split())

    assert "reviewed were" in folded
    assert "too good" not in folded


def test_nothing_reviewed_is_said_with_what_would_work(run: Any) -> None:
    """And marks of another set are named."""
    y, _ = run
    nothing = ask("--labels", "reviewed")
    review(0, y[0], "right", dataset="elsewhere")
    elsewhere = ask("--labels", "reviewed")

    assert nothing.exit_code
    assert elsewhere.exit_code
    assert "`safebench serve` shows each sample with a form" in nothing.output
    assert "marks are of elsewhere:test (prompt_harm)" in elsewhere.output


@pytest.mark.parametrize(
    "words",
    [
        ("--pivot",),
        ("--average",),
        ("--prevalence", "0.1"),
        ("--threshold", "0.3"),
        ("--with-reference",),
        ("--slice", "language"),
    ],
)
def test_what_does_not_go_together_is_refused(run: Any, words: tuple[str, ...]) -> None:
    """A mean of stored and reviewed numbers would be neither."""
    y, _ = run
    review(0, y[0], "right")

    result = ask("--labels", "reviewed", *words)

    assert result.exit_code
    assert f"leave out {words[0]} or --labels reviewed" in result.output


def test_without_predictions_numbers_are_null_with_a_reason(run: Any) -> None:
    """And not those of the run again, as if all labels were right."""
    y, _ = run
    review(0, y[0], "right")
    (RUN / "predictions/guard/set.test/greedy.jsonl").unlink()

    result = ask("--labels", "reviewed", "--format", "json", "--metrics", "auroc")

    _, reviewed = json.loads(result.stdout)
    assert None is reviewed["metrics"]["auroc"]["value"]
    assert "predictions are not stored" in reviewed["metrics"]["auroc"]["note"]


def test_ties_are_not_marked_by_tests_of_other_labels(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paired test reads the labels that predictions were stored with."""
    y, _ = run
    seen = []

    def tied(rows: Any, **_: Any) -> list[bool]:
        seen.extend(row.review for row in rows)
        return [True] * len(rows)

    monkeypatch.setattr("safebench.results.comparison.ties_with_best", tied)
    review(0, y[0], "wrong")
    assert 0 == ask("--labels", "reviewed", "--ci").exit_code
    assert [None] == seen


def test_a_row_says_of_itself_that_its_labels_were_reviewed() -> None:
    """It survives JSON, and other rows are written as before."""
    plain = from_json(json.dumps(ROW | {"metric": "auroc", "value": 0.5}))
    reviewed = replace(plain, review={"n_reviewed": 3})

    assert reviewed == from_json(to_json(reviewed))
    assert "review" not in json.loads(to_json(plain))
