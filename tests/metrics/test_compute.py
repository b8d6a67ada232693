"""Which metrics apply to an outcome, and the notes of the others."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

from safebench.metrics import MetricValue, Outcome
from safebench.metrics.catalog import SPECS
from safebench.metrics.compute import compute
from safebench.specs import MetricSpec

if TYPE_CHECKING:
    import pytest

NAMES = [
    "auroc",
    "auprc",
    "tpr_at_fpr_0.01",
    "fpr_at_tpr_0.95",
    "pauroc_fpr_0.1",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "balanced_accuracy",
    "mcc",
    "fpr",
    "fnr",
    "tp",
    "fp",
    "tn",
    "fn",
    "brier",
    "nll",
    "ece",
    "ece_mass",
    "mce",
    "rmsce",
    "rmsce_debiased",
    "aurc",
    "e_aurc",
    "selective_accuracy_80",
    "selective_accuracy_90",
    "selective_accuracy_95",
    "micro_f1",
    "macro_f1",
    "hamming_loss",
    "subset_accuracy",
    "micro_auroc",
    "macro_auroc",
    "micro_auprc",
    "macro_auprc",
    "gap_mean",
    "gap_p95",
    "gap_mean_categories",
    "gap_p95_categories",
    "gap_mean_uncertainty",
    "gap_p95_uncertainty",
    "error_auroc",
    "ranking_accuracy",
    "sign_accuracy",
    "kendall_tau_b",
]
SCORE = np.array([0.9, 0.2, 0.6])


def make_outcome(**columns: object) -> Outcome:
    """Build an outcome of three samples with the columns given."""
    return Outcome(
        y=np.array([True, False, True]),
        failed=np.zeros(3, dtype=bool),
        groups=list("abc"),
        **columns,  # type: ignore[arg-type]
    )


def notes(outcome: Outcome) -> dict[str, str]:
    """Return the notes of the metrics without a value."""
    result = compute(outcome, SPECS)
    return {spec.name: value.note for spec, value in result if value.value is None}


def test_the_catalog_names_them_all() -> None:
    """Every metric id exists once, and its code can be imported."""
    assert NAMES == [spec.name for spec in SPECS]
    assert all(callable(spec.code()) for spec in SPECS)


def test_a_strategy_without_score_gets_null_rows() -> None:
    """Uncertainty only: each metric of scores and decisions says what is missing."""
    result = notes(make_outcome(uncertainty=SCORE))

    assert "the strategy gives no score" == result["auroc"] == result["brier"]
    assert "the strategy gives no decision" == result["f1"]
    assert "the strategy gives no bounds" == result["gap_mean"]


def test_a_score_that_is_no_probability_has_no_brier() -> None:
    """A cost ranks, so AUROC is there, but no loss of probabilities."""
    outcome = make_outcome(score=SCORE, probability=False, decision=SCORE > 0.5)
    result = notes(outcome)

    assert {"brier", "nll", "ece", "gap_mean", "error_auroc"} < set(result)
    assert "auroc" not in result
    assert "the score is no probability" == result["nll"]


def test_categories_are_left_out_without_annotations() -> None:
    """A dataset without categories gets no category rows at all."""
    result = [spec.name for spec, _ in compute(make_outcome(score=SCORE), SPECS)]

    assert not {"micro_f1", "macro_f1", "hamming_loss", "subset_accuracy"} & {*result}


def test_categories_without_a_map_are_null_with_the_reason() -> None:
    """Annotated, but not comparable: null rows that carry the given note."""
    result = notes(make_outcome(category_note="no map from a to b"))

    assert "no map from a to b" == result["micro_f1"]


def test_pairs_and_votes_are_left_out() -> None:
    """A metric that needs what the outcome cannot hold yet has no row."""
    spec = MetricSpec(
        name="x",
        load="nowhere:x",
        needs=frozenset({"pairs"}),
        higher_is_better=True,
    )

    assert [] == compute(make_outcome(score=SCORE), [spec])


def infinite(_: Outcome) -> MetricValue:
    """Return what JSON cannot hold."""
    return MetricValue(float("inf"))


def test_a_number_that_is_not_finite_becomes_null(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Infinity from a plugin's metric is null with a note."""
    monkeypatch.setattr("safebench.metrics.bounds.gap_mean", infinite)
    outcome = make_outcome(score=SCORE, lower=SCORE, upper=SCORE)
    ((_, value),) = compute(outcome, [s for s in SPECS if s.name == "gap_mean"])

    assert (None, "not a finite number") == (value.value, value.note)


def test_the_catalog_imports_nothing_heavy() -> None:
    """Declaring metrics and reporters needs neither numpy nor sklearn nor rich."""
    code = (
        "import sys, safebench.metrics.catalog, safebench.core_plugin\n"
        "print({'numpy', 'sklearn', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    assert "set()" == done.stdout.strip()
