"""`safebench threshold` as it is typed: numbers, transfer, refusals, remarks."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Run = Callable[..., Result]
    Sets = dict[str, tuple[np.ndarray, np.ndarray]]

BUDGET = 0.1


def by_hand(score: np.ndarray, y: np.ndarray) -> float:
    """Return the k-th highest score of a negative, k the whole part of the budget."""
    negatives = sorted(score[~y], reverse=True)
    k = int(BUDGET * len(negatives))
    at = negatives[k - 1]
    while sum(s >= at for s in negatives) > k:  # ties would break the budget
        at = min(s for s in negatives if s > at)
    return float(at)


def rates(score: np.ndarray, y: np.ndarray, at: float) -> tuple[float, float]:
    """Return FPR and recall."""
    return float((score[~y] >= at).mean()), float((score[y] >= at).mean())


def run_json(safebench: Run, *args: str) -> dict[str, Any]:
    """Return the only report of a command."""
    result = safebench("threshold", *args, "--format", "json")
    assert 0 == result.exit_code, result.output
    (report,) = json.loads(result.stdout)
    return report


def test_chosen_on_one_half_and_measured_on_the_other(
    two_sets: Sets, safebench: Run
) -> None:
    """Own test part, the other set, all sets, and each left out: all by hand."""
    report = run_json(safebench, "one", "--max-fpr", "0.1", "--transfer")

    held = {name: (y[0::2], score[0::2]) for name, (y, score) in two_sets.items()}
    test = {name: (y[1::2], score[1::2]) for name, (y, score) in two_sets.items()}
    own = {name: by_hand(score, y) for name, (y, score) in held.items()}
    assert own == {s["dataset"][:4]: s["threshold"] for s in report["sets"]}
    for chosen in report["sets"]:
        at = chosen["threshold"]
        for measured in (chosen["test"], *chosen["elsewhere"]):
            y, score = test[measured["dataset"][:4]]
            metrics = measured["metrics"]
            assert rates(score, y, at) == (
                metrics["fpr"]["value"],
                metrics["recall"]["value"],
            )
            assert metrics["fpr"]["low"] < metrics["fpr"]["value"]
            assert metrics["fpr"]["value"] < metrics["fpr"]["high"]
    everywhere = report["all_sets"]
    assert max(own.values()) == everywhere["threshold"]
    left = {one["dataset"][:4]: one["threshold"] for one in everywhere["leave_one_out"]}
    assert {"easy": own["hard"], "hard": own["easy"]} == left


def test_costs_of_all_sets_are_smallest_together(
    two_sets: Sets, safebench: Run
) -> None:
    """One threshold for both sets has the smallest sum of their mean costs."""
    options = ("--cost-fp", "1", "--cost-fn", "3", "--transfer")
    report = run_json(safebench, "one", *options)

    held = [(y[0::2], score[0::2]) for y, score in two_sets.values()]
    cuts = sorted({*np.concatenate([s for _, s in held]).tolist(), math.inf})
    totals = [
        sum((3 * (y & (s < cut)) + (~y & (s >= cut))).mean() for y, s in held)
        for cut in cuts
    ]
    best = max(c for c, t in zip(cuts, totals, strict=True) if t <= min(totals) + 1e-12)
    assert best == report["all_sets"]["threshold"]


def test_the_review_band_and_what_is_seen_with_it(
    two_sets: Sets, safebench: Run
) -> None:
    """Reviewed are the test scores from its low end up to the threshold."""
    options = ("-d", "easy", "--max-fpr", "0.1", "--review-budget", "0.1")
    report = run_json(safebench, "one", *options)

    (chosen,) = report["sets"]
    low, high = chosen["review"]["low"], chosen["review"]["high"]
    y, score = (column[1::2] for column in two_sets["easy"])
    assert chosen["threshold"] == high
    metrics = chosen["test"]["metrics"]
    assert ((score >= low) & (score < high)).mean() == metrics["reviewed"]["value"]
    assert (score[y] >= low).mean() == metrics["recall_with_review"]["value"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "which threshold? say --max-fpr .05"),
        (("--max-fpr", ".05", "--min-recall", ".9"), "one rule chooses the threshold"),
        (("--cost-fp", "1"), "--cost-fn is missing"),
        (("--max-fpr", "1"), "'1' is no number above 0 and below 1"),
        (("--max-fpr", ".05", "--prevalence", "0"), "'0' is no number above 0"),
        (("--max-fpr", ".05", "--prevalence", "1"), "'1' is no number above 0"),
        (("--max-fpr", ".05", "-d", "esay"), "did you mean 'easy'?"),
        (("--max-fpr", ".05", "--of", "guard/plane"), "did you mean 'guard/plain'?"),
        (("--cost-fp", "1", "--cost-fn", "2", "--control", "crc"), "bounds a rate"),
        (("--max-fpr", ".01", "--control", "crc"), "--control crc takes 99"),
        (("--review-budget", ".1", "--review-low", "0"), "a threshold to block from"),
        (("--threshold", "1", "--review-low", "2"), "is not below --threshold 1"),
        (("--threshold", "nan"), "'nan' is no finite number"),
        (("--threshold", "-inf"), "'-inf' is no finite number"),
        (("--max-fpr", ".1", "--review-low", "nan"), "'nan' is no finite number"),
        (("--cost-fp", "1", "--cost-fn", "1e300"), "above 0 and below 1e+12"),
        (("--max-fpr", ".1", "--save", "p.json"), "the point of which set? say -d"),
    ],
)
@pytest.mark.usefixtures("two_sets")
def test_what_does_not_fit_is_refused(
    args: tuple[str, ...], message: str, safebench: Run
) -> None:
    """With exit code 2 and what would work."""
    result = safebench("threshold", "one", *args)

    assert 2 == result.exit_code
    assert message in result.stderr


Y = [True, False] * 40
SCORES = [0.9, 0.1] * 40


@pytest.mark.parametrize(
    ("score", "part", "fields", "message"),
    [
        (SCORES, "test", {}, "--calibration-fraction 0.33"),
        ([None] * 80, "calibration", {}, "every sample failed"),
        (
            [None] * 80,
            "calibration",
            {"error": None, "uncertainty": 0.3, "decision": True},
            "an uncertainty and no score of harm",
        ),
        (
            [None] * 80,
            "calibration",
            {"error": None, "lower": 0.1, "upper": 0.2, "decision": False},
            "decisions at the threshold 0.5 alone",
        ),
        (SCORES, "calibration", {"label": True}, "0 negatives in the calibration"),
    ],
    ids=["no-part", "failed", "uncertainty", "cut-short", "one-class"],
)
def test_sets_without_a_threshold_say_why(
    score: list[float | None],
    part: str,
    fields: dict[str, Any],
    message: str,
    write: Callable[..., Path],
    safebench: Run,
) -> None:
    """In one line, with what would work where something would."""
    write("mine", Y, score, part, **fields)

    result = safebench("threshold", "one", "--max-fpr", ".05")

    assert 2 == result.exit_code
    assert message in result.stderr
    assert 1 == len(result.stderr.splitlines())


@pytest.mark.parametrize(
    ("rule", "method", "promised"),
    [
        (("--max-fpr", ".2"), "crc", "at most 20 % of new negatives are flagged"),
        (("--min-recall", ".8"), "ltt", "at most 20 % of new positives are missed"),
    ],
)
@pytest.mark.usefixtures("two_sets")
def test_the_promise_is_said_in_words(
    rule: tuple[str, str], method: str, promised: str, safebench: Run
) -> None:
    """What is at most how much, and how sure that is."""
    report = run_json(safebench, "one", *rule, "--control", method)

    assert 2 == sum(promised in remark for remark in report["remarks"])


def test_a_test_id_is_refused(write: Callable[..., Path], safebench: Run) -> None:
    """A sample that stands in both parts would be chosen on and measured on."""
    path = write("mine", Y, SCORES, ["calibration"] * 40 + ["test"] * 40)
    lines = path.read_text(encoding="utf-8").replace("mine/test/79", "mine/test/3")
    path.write_text(lines, encoding="utf-8")

    result = safebench("threshold", "one", "--max-fpr", ".05")

    assert 2 == result.exit_code
    assert "may not be chosen on the test part: mine/test/3 is in it" in result.stderr


def test_a_group_in_both_parts_is_refused(
    write: Callable[..., Path], safebench: Run
) -> None:
    """Turns of one conversation would be chosen on and measured on."""
    write("mine", Y, SCORES, ["calibration"] * 40 + ["test"] * 40, group="one")

    result = safebench("threshold", "one", "--max-fpr", ".05")

    assert 2 == result.exit_code
    assert "group 'one' is in the calibration part and in the test" in result.stderr


def test_another_set_says_what_its_numbers_rest_on(
    write: Callable[..., Path], safebench: Run
) -> None:
    """Failures and open bounds count there as they do on the set of the choice."""
    write("mine", Y, SCORES, ["calibration"] * 40 + ["test"] * 40)
    score = np.array(SCORES)
    score[:7] = np.nan
    columns = {"lower": [0.0] * 80, "upper": [1.0] * 80}
    write("other", Y, score, "test", columns=columns)

    remarks = run_json(safebench, "one", "--max-fpr", ".05", "--transfer")["remarks"]

    assert "other:test: 7 of 80 test samples failed, and count as wrong" in remarks
    assert any(
        "other:test: 80 test scores are bounded on both sides of 0.9" in remark
        for remark in remarks
    )


def test_remarks_say_what_a_number_leaves_out(
    write: Callable[..., Path], safebench: Run
) -> None:
    """Ties, failures, bounds on both sides and a budget that does not hold."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2 == 0
    part = ["calibration" if row < 200 else "test" for row in range(400)]
    score = np.where(y, 0.9, np.where(rng.random(400) < 0.04, 0.8, 0.1))
    score[200:][~y[200:]] = np.where(rng.random(100) < 0.5, 0.95, 0.1)
    score[[7, 301]] = np.nan
    columns = {
        name: [None if np.isnan(s) else s + by for s in score.tolist()]
        for name, by in (("lower", -0.2), ("upper", 0.2))
    }
    write("mine", y, score, part, columns=columns)

    result = safebench("threshold", "one", "--max-fpr", ".05")

    text = " ".join(result.output.split())
    assert "scores that it was chosen on equal the threshold" in text
    assert "1 failed samples of the calibration part count as wrong" in text
    assert "1 of 200 test samples failed, and count as wrong" in text
    assert "test scores are bounded on both sides of the threshold: fpr" in text
    assert "fpr is above 0.05 beyond chance" in text


def test_categories_have_thresholds_of_their_own(
    write: Callable[..., Path], safebench: Run
) -> None:
    """With 20 samples of each class; others say how many they have."""
    rng = np.random.default_rng(1)
    y = np.arange(240) % 2 == 0
    often, rare = y & (rng.random(240) < 0.6), np.arange(240) == 0
    scores = rng.random((240, 2)).round(3)
    columns = {
        "category_truth": [
            {"S1": bool(a), "S2": bool(b)} for a, b in zip(often, rare, strict=True)
        ],
        "categories": [{"S1": a, "S2": b} for a, b in scores.tolist()],
    }
    part = [("calibration", "test")[row // 2 % 2] for row in range(240)]
    write("mine", y, rng.random(240), part, columns=columns)

    report = run_json(safebench, "one", "--max-fpr", "0.1", "--per-category")

    s1, s2 = report["sets"][0]["categories"]
    held = np.array([p == "calibration" for p in part])
    assert by_hand(scores[held, 0], often[held]) == s1["threshold"]
    assert rates(scores[~held, 0], often[~held], s1["threshold"]) == (
        s1["test"]["metrics"]["fpr"]["value"],
        s1["test"]["metrics"]["recall"]["value"],
    )
    assert s2["threshold"] is None
    assert "1 positives and 119 negatives in the calibration part" in s2["note"]


@pytest.mark.usefixtures("two_sets")
def test_tables_fit_a_terminal_of_80_columns(
    safebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rates, review, costs and numbers at a prevalence; Markdown has the same rows."""
    monkeypatch.setenv("COLUMNS", "80")
    options = ("--max-fpr", "0.1", "--review-budget", ".05", "--transfer")
    options += ("--cost-fp", "1", "--cost-fn", "20", "--prevalence", ".001")

    result = safebench("threshold", "one", *options)

    assert 0 == result.exit_code, result.output
    assert 80 >= max(map(len, result.output.splitlines()))
    assert "alerts per million" in result.output
    markdown = safebench("threshold", "one", *options, "--format", "md").output
    assert markdown.count("| easy:test |") == result.output.count("easy:test ")
