"""Categories in comparisons of stored predictions: which cells count, and when none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn import metrics as sk

from safebench.metrics.catalog import SPECS
from safebench.results.comparison import MetricComparison, compare
from safebench.results.selection import select_pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

NAMES = {spec.name: spec for spec in SPECS}
N, CODES = 60, ("S1", "S2", "S3")


def store(
    write: Write, label: str, seed: int, change: Callable[[int, dict[str, Any]], None]
) -> dict[str, np.ndarray]:
    """Store predictions with categories; `change` may alter the line of a row."""
    truth = np.random.default_rng(0).random((N, 3)) < 0.4
    z = 1.5 * truth + np.random.default_rng(seed).normal(size=(N, 3))
    path = write("one", label, truth.any(axis=1), np.full(N, 0.5))
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for row, line in enumerate(lines):
        line |= {
            "error": None,
            "categories": dict(zip(CODES, z[row].tolist(), strict=True)),
            "predicted_categories": [c for c, s in zip(CODES, z[row]) if s > 1],  # noqa: B905
            "category_truth": dict(zip(CODES, truth[row].tolist(), strict=True)),
        }
        change(row, line)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return {"truth": truth, "z": z}


def compared(*names: str) -> dict[str, MetricComparison]:
    """Compare weak and strong; return the lines by metric."""
    specs = [NAMES[name] for name in names]
    (comparison,) = compare(select_pairs("weak", "strong"), specs)
    return {line.metric: line for line in comparison.lines}


def nothing(row: int, line: dict[str, Any]) -> None:
    """Leave a line as it is."""


def test_cells_without_a_judgement_of_either_are_left_out_of_both(write: Write) -> None:
    """Unknown truth, a score that one side lacks, and a failed sample."""

    def weak(row: int, line: dict[str, Any]) -> None:
        if row < 10:
            line["category_truth"]["S1"] = None
        if row == 20:  # failed: every cell is wrong, and none is ranked
            line |= dict.fromkeys(("score", "decision", "categories"))
            line |= {"predicted_categories": None, "error": "broken"}

    def strong(row: int, line: dict[str, Any]) -> None:
        if row < 10:
            line["category_truth"]["S1"] = None
        if row >= 50:
            line["categories"]["S2"] = None
            line["predicted_categories"] = [
                code for code in line["predicted_categories"] if code != "S2"
            ]

    one = store(write, "guard/weak", 1, weak)
    other = store(write, "guard/strong", 2, strong)
    lines = compared("micro_f1", "micro_auroc")

    known = np.ones((N, 3), dtype=bool)
    known[:10, 0] = known[50:, 1] = False
    named = one["z"] > 1
    named[20] = ~one["truth"][20]
    truth = one["truth"]
    assert lines["micro_f1"].a is not None
    assert lines["micro_f1"].b is not None
    assert lines["micro_f1"].a.value == pytest.approx(
        sk.f1_score(truth[known], named[known])
    )
    assert lines["micro_f1"].b.value == pytest.approx(
        sk.f1_score(truth[known], other["z"][known] > 1)
    )
    known[20] = False
    for side, z in (
        (lines["micro_auroc"].a, one["z"]),
        (lines["micro_auroc"].b, other["z"]),
    ):
        assert side is not None
        assert side.value == pytest.approx(sk.roc_auc_score(truth[known], z[known]))
    assert lines["micro_auroc"].p is not None


def test_guards_of_other_policies_share_no_category(write: Write) -> None:
    """S1 of one policy is not S1 of another: a reason, and no number."""

    def renamed(row: int, line: dict[str, Any]) -> None:
        for name in ("categories", "category_truth"):
            line[name] = {f"O{code}": value for code, value in line[name].items()}
        line["predicted_categories"] = []

    store(write, "guard/weak", 1, nothing)
    store(write, "guard/strong", 2, renamed)
    line = compared("accuracy", "macro_f1")["macro_f1"]

    assert line.p is None
    assert line.difference is None
    assert line.note == "a and b have other categories: compare guards of one policy"


def test_another_truth_of_the_same_categories_is_refused(write: Write) -> None:
    """Two maps of the dataset's categories would compare truths, not guards."""

    def turned(row: int, line: dict[str, Any]) -> None:
        line["category_truth"]["S3"] ^= row == 7

    store(write, "guard/weak", 1, nothing)
    store(write, "guard/strong", 2, turned)
    line = compared("accuracy", "micro_auprc")["micro_auprc"]

    assert line.note == "a and b were judged by other maps of the categories"


def test_a_dataset_without_categories_or_pairs_says_so(
    write: Write, scores: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """The other metrics go on."""
    y, weak, strong = scores
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, strong)
    lines = compared("auroc", "macro_auroc", "ranking_accuracy", "kendall_tau_b")

    assert lines["auroc"].p is not None
    assert lines["macro_auroc"].note == (
        "one of both has no categories whose truth is known"
    )
    assert lines["ranking_accuracy"].note == "the dataset has no pairs of answers"
    assert lines["kendall_tau_b"].note == "the dataset has no severities"
