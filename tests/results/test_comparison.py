"""Comparisons of stored predictions, against the tests that they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import DataError
from safebench.metrics.arrays import paired_difference
from safebench.metrics.catalog import SPECS
from safebench.reporters.comparison import remarks
from safebench.results.comparison import DEFAULT_METRICS, compare
from safebench.results.selection import select_pairs
from safebench.statistics import delong, holm, mcnemar
from safebench.statistics.power import mcnemar_power

if TYPE_CHECKING:
    from conftest import Write

    from safebench.results.comparison import Comparison, MetricComparison

    Scores = tuple[np.ndarray, np.ndarray, np.ndarray]

BY_NAME = {spec.name: spec for spec in SPECS}


def compared(*metrics: str) -> Comparison:
    """Compare weak with strong scores."""
    specs = [BY_NAME[name] for name in metrics or DEFAULT_METRICS]
    (comparison,) = compare(select_pairs("weak", "strong"), specs)
    return comparison


def lines(comparison: Comparison) -> dict[str, MetricComparison]:
    """Return the lines by metric."""
    return {line.metric: line for line in comparison.lines}


def test_an_unknown_smallest_difference_has_a_reason(
    write: Write, scores: Scores
) -> None:
    """Of few positive samples, of equal sides; a known one has none."""
    y, weak, strong = scores
    few = np.flatnonzero(y)[20:]
    kept = np.setdiff1d(np.arange(len(y)), few)
    write("one", "guard/weak", y[kept], weak[kept])
    write("one", "guard/strong", y[kept], strong[kept])
    comparison = compared("auroc", "auprc", "accuracy")
    by = lines(comparison)
    told = " ".join(remarks(comparison))

    assert by["auprc"].smallest_difference is None
    assert "20 independent samples of a class is not known" in by["auprc"].size_note
    assert f"smallest difference unknown of auprc: {by['auprc'].size_note}" in told
    assert by["accuracy"].smallest_difference is not None
    assert by["accuracy"].size_note == ""

    write("one", "guard/strong", y[kept], weak[kept])
    by = lines(compared("auroc", "f1"))
    assert by["f1"].smallest_difference is None
    assert "no swap changes anything" in by["f1"].size_note


def test_independent_samples_get_exact_tests(write: Write, scores: Scores) -> None:
    """DeLong for AUROC and exact McNemar for accuracy, Holm over the six lines."""
    y, weak, strong = scores
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, strong)
    comparison = compared()
    by = lines(comparison)

    expected = mcnemar(y, weak >= 0.5, strong >= 0.5)
    assert expected == comparison.discordant
    assert expected.p == pytest.approx(by["accuracy"].p, rel=1e-9)
    assert "exact McNemar" == by["accuracy"].test
    assert delong(y, weak, strong).p == pytest.approx(by["auroc"].p, rel=1e-9)
    assert "DeLong" == by["auroc"].test
    assert "swapped samples" == by["f1"].test
    adjusted = holm([line.p for line in comparison.lines])
    assert adjusted == [line.holm for line in comparison.lines]
    assert "b" == by["auroc"].better == by["accuracy"].better
    assert by["fpr"].difference.value < 0  # type: ignore[union-attr, operator]
    assert "b" == by["fpr"].better


def test_groups_are_drawn_whole(write: Write, scores: Scores) -> None:
    """With groups ranks are swapped, or signs flipped, of whole groups."""
    y, weak, strong = scores
    groups = np.arange(200) // 4
    write("one", "guard/weak", y, weak, groups=groups)
    write("one", "guard/strong", y, strong, groups=groups)
    comparison = compared("auroc", "accuracy")

    names = [f"group-{group}" for group in groups]
    expected = paired_difference("auroc", y, weak, strong, names)
    assert expected == lines(comparison)["auroc"].difference
    tests = {line.metric: line.test for line in comparison.lines}
    assert {"auroc": "swapped groups", "accuracy": "exact sign flips"} == tests
    assert (200, 50) == (comparison.n, comparison.groups)


def test_what_is_not_shown(write: Write, scores: Scores) -> None:
    """Two scores of the same quality: no line names a better one."""
    y, weak, _ = scores
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, weak + 0.001 * (np.arange(200) % 2))
    comparison = compared("auroc", "f1")

    assert [None, None] == [line.better for line in comparison.lines]


def test_failed_samples(write: Write, scores: Scores) -> None:
    """A sample that one fails counts as its error; areas leave it out for both."""
    y, weak, strong = scores
    holes = np.where(np.arange(200) < 30, np.nan, strong)
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, holes)
    comparison = compared("auroc", "accuracy")
    by = lines(comparison)

    right = ((strong >= 0.5) == y) & (np.arange(200) >= 30)
    assert (0, 30) == comparison.failed
    assert right.mean() == pytest.approx(by["accuracy"].b.value)  # type: ignore[union-attr]
    expected = delong(y[30:], weak[30:]).value
    assert expected == pytest.approx(by["auroc"].a.value)  # type: ignore[union-attr]


def test_samples_of_one_alone_are_left_out(write: Write, scores: Scores) -> None:
    """B ran on the first 150 only: both are measured on these."""
    y, weak, strong = scores
    write("one", "guard/weak", y, weak)
    write("two", "guard/strong", y[:150], strong[:150])
    comparison = compared("accuracy")

    right = ((weak >= 0.5) == y)[:150].mean()
    assert (150, 50) == (comparison.n, comparison.left_out)
    assert right == pytest.approx(comparison.lines[0].a.value)  # type: ignore[union-attr]


def test_costs_have_no_calibration(write: Write, scores: Scores) -> None:
    """Scores outside 0 to 1: no Brier score, and the line says why."""
    y, weak, strong = scores
    write("one", "guard/weak", y, weak * 10)
    write("one", "guard/strong", y, strong)
    (line,) = compared("brier").lines

    assert (None, "scores are no probabilities") == (line.p, line.note)


def test_labels_that_contradict_each_other(write: Write, scores: Scores) -> None:
    """Two runs on data whose labels changed are not compared."""
    y, weak, strong = scores
    write("one", "guard/weak", y, weak)
    write("two", "guard/strong", ~y, strong)

    with pytest.raises(DataError, match="disagree on the label of set/test/0"):
        compared()


def test_old_predictions_without_groups(write: Write, scores: Scores) -> None:
    """Files that do not name a group: equal conversations belong together."""
    y, weak, strong = scores
    for name, score in (("weak", weak), ("strong", strong)):
        file = write("one", f"guard/{name}", y, score, group=None, content="same")
        assert isinstance(file, Path)
    comparison = compared("accuracy")

    assert 1 == comparison.groups
    assert comparison.lines[0].difference is not None
    assert "no test: 1 groups, it takes 6" == comparison.lines[0].difference.method


def test_a_difference_that_no_draw_changes(write: Write) -> None:
    """A flags nothing, B everything: both rates differ, and both lines say so."""
    y = np.arange(40) < 15
    write("one", "guard/weak", y, np.zeros(40))
    write("one", "guard/strong", y, np.ones(40))
    comparison = lines(compared("recall", "fpr"))

    assert (2 / 2**15, 2 / 2**25) == pytest.approx(
        (comparison["recall"].p, comparison["fpr"].p)
    )
    assert ("b", "a") == (comparison["recall"].better, comparison["fpr"].better)
    assert "exact McNemar" == comparison["recall"].test


def compared_with(metrics: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """Compare with options, and return the lines by metric."""
    specs = [BY_NAME[name] for name in metrics]
    (comparison,) = compare(select_pairs("weak", "strong"), specs, **options)
    return lines(comparison)


def test_a_difference_too_small_to_be_shown_has_no_winner(
    write: Write, scores: Scores
) -> None:
    """Every score better by 1e-6: significant, and practically equal."""
    y, weak, _ = scores
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, np.where(y, weak + 1e-6, weak - 1e-6))
    line = compared_with(("brier",))["brier"]

    assert line.p < 0.001
    assert (None, True) == (line.better, line.practically_equal)
    shown = compared_with(("brier",), margin=1e-9)["brier"]
    assert ("b", False) == (shown.better, shown.practically_equal)


def test_the_margin_is_as_wide_as_the_bounds(write: Write, scores: Scores) -> None:
    """Scores that may be 0.1 higher: differences below 0.1 have no winner."""
    y, weak, strong = scores
    bounds = {"lower": weak, "upper": weak + 0.1}
    write("one", "guard/weak", y, weak, columns=bounds)
    write("one", "guard/strong", y, strong)
    comparison = compared("auroc")

    assert 0.1 == pytest.approx(comparison.margin.value)
    assert "the mean width of the scores' bounds" == comparison.margin.source


@pytest.mark.slow
def test_equivalence_is_tested_where_asked_for(write: Write) -> None:
    """3,000 prompts of which four are told apart: a difference of 1 % is excluded."""
    y = np.arange(3000) % 2 == 0
    right = np.where(y, 0.9, 0.1)
    write("one", "guard/weak", y, np.where(np.arange(3000) < 2, 1 - right, right))
    write("one", "guard/strong", y, np.where(np.arange(3000) > 2997, 1 - right, right))
    options: dict[str, Any] = {"margin": 0.01, "equivalence": True}
    line = compared_with(("accuracy",), **options)["accuracy"]

    assert 0.99**3000 == pytest.approx(line.equivalence_p, rel=1e-6) or (
        line.equivalence_p < 0.05
    )
    assert line.equivalent
    assert not compared_with(("accuracy",), margin=0.0004, equivalence=True)[
        "accuracy"
    ].equivalent
    assert compared_with(("accuracy",))["accuracy"].equivalence_p is None


def test_uncertainties_are_compared_where_both_have_one(
    write: Write, scores: Scores
) -> None:
    """Two metrics more, unless one side has none."""
    y, weak, strong = scores
    rng = np.random.default_rng(0)
    for name, score in (("weak", weak), ("strong", strong)):
        unsure = rng.random(200) + ((score >= 0.5) != y)
        write("one", f"guard/{name}", y, score, columns={"uncertainty": unsure})
    specs = [BY_NAME["auroc"]]
    more = [BY_NAME["error_auroc"], BY_NAME["aurc"]]
    (both,) = compare(select_pairs("weak", "strong"), specs, of_uncertainty=more)

    assert ["auroc", "error_auroc", "aurc"] == [line.metric for line in both.lines]
    assert 1.0 == pytest.approx(lines(both)["error_auroc"].a.value)  # type: ignore[union-attr]
    assert not both.same_decisions
    write("one", "guard/strong", y, strong)
    (one,) = compare(select_pairs("weak", "strong"), specs, of_uncertainty=more)
    assert ["auroc"] == [line.metric for line in one.lines]


def test_the_smallest_difference_is_said(write: Write, scores: Scores) -> None:
    """That of accuracy has 80 % power by McNemar's test of as many discordant ones."""
    y, weak, strong = scores
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, strong)
    line = compared_with(("accuracy",))["accuracy"]

    told_apart = float(((weak >= 0.5) != (strong >= 0.5)).mean())
    power = mcnemar_power(200, told_apart, line.smallest_difference)
    assert 0.8 == pytest.approx(power, abs=0.01)


def test_more_lines_draw_more_swaps(write: Write, scores: Scores) -> None:
    """With 50 lines and more the smallest p still passes Holm's adjustment."""
    y, weak, strong = scores
    write("one", "guard/weak", y, weak)
    write("one", "guard/strong", y, strong)
    (comparison,) = compare(
        select_pairs("weak", "strong"), [BY_NAME["f1"]] * 60, n_resamples=None
    )

    assert comparison.lines[0].holm < 0.05  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", ": .*the file is empty"), ("7\n", ":1 is no"), ("{\n", ":1 is no")],
)
def test_a_file_without_predictions(write: Write, text: str, problem: str) -> None:
    """What was emptied or is no object is named with its file, in one line."""
    write("one", "guard/weak", [True], [0.9]).write_text(text)
    write("one", "guard/strong", [True], [0.9])

    with pytest.raises(DataError, match=rf"weak.jsonl{problem}"):
        compared()


def test_a_file_of_something_else(write: Write) -> None:
    """A line without the fields of a prediction is named with its file."""
    write("one", "guard/weak", [True], [0.9]).write_text('{"id": 1}\n')
    write("one", "guard/strong", [True], [0.9])

    with pytest.raises(DataError, match=r"weak.jsonl: no predictions: lacks"):
        compared()


def test_a_score_that_is_no_number_of_a_computer(write: Write) -> None:
    """An integer of hundreds of digits is refused with the name of the file."""
    path = write("one", "guard/weak", [True], [0.125])
    path.write_text(path.read_text().replace("0.125", "1" + "0" * 400))
    write("one", "guard/strong", [True], [0.9])

    with pytest.raises(DataError, match=r"weak.jsonl: no predictions: .*too large"):
        compared()
