"""The leaderboard from result rows: lines, order, best numbers, footnotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.errors import SafebenchError, UnknownNameError
from safebench.metrics.catalog import SPECS
from safebench.reporters.leaderboard import build_leaderboard

if TYPE_CHECKING:
    from conftest import Rows

    from safebench.reporters.table import Leaderboard


def names(table: Leaderboard) -> list[str]:
    """Return the lines' strategies, in order."""
    return [line.method for line in table.lines]


def best(table: Leaderboard) -> list[tuple[bool, ...]]:
    """Return which cells are the best, by line."""
    return [tuple(cell.best for cell in line.cells) for line in table.lines]


def test_one_line_per_combination(rows: Rows) -> None:
    """Classifier, strategy, calibrator, dataset and task make a line."""
    given = [
        *rows({"auroc": 0.5, "f1": 0.4}),
        *rows({"auroc": 0.5, "f1": 0.4}, calibrator="platt"),
        *rows({"auroc": 0.5, "f1": 0.4}, classifier="other"),
        *rows({"auroc": 0.5, "f1": 0.4}, dataset="b", config="c"),
        *rows({"auroc": 0.5, "f1": 0.4}, task="refusal"),
    ]
    table = build_leaderboard(given)

    assert [
        ("guard", "greedy", "set:test (prompt_harm)"),
        ("guard", "greedy+platt", "set:test (prompt_harm)"),
        ("other", "greedy", "set:test (prompt_harm)"),
        ("guard", "greedy", "b:c:test (prompt_harm)"),
        ("guard", "greedy", "set:test (refusal)"),
    ] == [(line.classifier, line.method, line.section) for line in table.lines]
    assert ("auroc", "f1") == table.metrics


def test_default_order_is_auroc_descending_with_nulls_last(rows: Rows) -> None:
    """Within a dataset the best AUROC comes first; datasets keep their order."""
    given = [
        *rows({"auroc": None}, strategy="none"),
        *rows({"auroc": 0.6}, strategy="low"),
        *rows({"auroc": 0.99}, strategy="far", dataset="b"),
        *rows({"auroc": 0.7}, strategy="high"),
    ]

    assert ["high", "low", "none", "far"] == names(build_leaderboard(given))


def test_sort_follows_the_metric_s_direction(rows: Rows) -> None:
    """By FPR the smallest comes first, and the column is added."""
    given = [
        *rows({"auroc": 0.9, "fpr": 0.3}, strategy="a"),
        *rows({"auroc": 0.8, "fpr": 0.1}, strategy="b"),
    ]
    table = build_leaderboard(given, sort="fpr")

    assert ["b", "a"] == names(table)
    assert [(False, True), (True, False)] == best(table)


def test_best_only_within_a_dataset(rows: Rows) -> None:
    """Each dataset has its own best; a lone line beats nobody."""
    given = [
        *rows({"auroc": 0.6}, strategy="low"),
        *rows({"auroc": 0.7}, strategy="high"),
        *rows({"auroc": 0.99}, strategy="alone", dataset="b"),
    ]

    assert [(True,), (False,), (False,)] == best(build_leaderboard(given))


def test_what_reads_the_same_ties(rows: Rows) -> None:
    """A difference beyond three decimals is not marked; equal columns have no best."""
    given = [
        *rows({"auroc": 0.70001, "f1": 0.5}, strategy="a"),
        *rows({"auroc": 0.70003, "f1": 0.5}, strategy="b"),
        *rows({"auroc": 0.6, "f1": 0.5}, strategy="c"),
    ]

    assert [(True, False), (True, False), (False, False)] == best(
        build_leaderboard(given)
    )


def test_a_line_that_saw_the_test_labels_is_not_ranked(rows: Rows) -> None:
    """It stands last, is never the best, and a footnote says why."""
    given = [
        *rows({"auroc": 0.9}, strategy="original", threshold_from="test (original)"),
        *rows({"auroc": 0.7}, strategy="b"),
        *rows({"auroc": 0.6}, strategy="a"),
    ]
    table = build_leaderboard(given)

    assert ["b", "a", "original"] == names(table)
    assert [(True,), (False,), (False,)] == best(table)
    assert "not ranked, saw the test labels: original" in table.footnotes


def test_only_whole_test_parts_are_shown(rows: Rows) -> None:
    """Rows of slices, categories, other parts and prevalences are not in the table."""
    narrowed = [
        {"part": "calibration"},
        {"slice": "language=de"},
        {"category": "S1"},
        {"prevalence": 0.01},
    ]
    given = [row for fields in narrowed for row in rows({"auroc": 0.9}, **fields)]
    table = build_leaderboard([*given, *rows({"auroc": 0.5})])

    assert [0.5] == [line.cells[0].value for line in table.lines]
    with pytest.raises(SafebenchError, match="no results"):
        build_leaderboard(given)


def test_category_column_only_if_some_line_has_it(rows: Rows) -> None:
    """Null micro-F1 everywhere is no column; one number makes it one."""
    nothing = rows({"auroc": 0.5, "micro_f1": None})
    something = rows({"auroc": 0.5, "micro_f1": 0.4}, strategy="b")

    assert ("auroc",) == build_leaderboard(nothing).metrics
    assert ("auroc", "micro_f1") == build_leaderboard([*nothing, *something]).metrics


def test_metrics_as_asked(rows: Rows) -> None:
    """Order and choice are the user's, case does not matter, repeats are dropped."""
    given = rows({"auroc": 0.5, "f1": 0.4, "fpr": 0.1})

    assert ("fpr", "auroc") == build_leaderboard(
        given, metrics=["FPR", "auroc", "fpr"]
    ).metrics


def test_unknown_metric_is_answered_with_the_nearest(rows: Rows) -> None:
    """Neither in the rows nor declared: refused, for columns and for the order."""
    given = rows({"auroc": 0.5})

    with pytest.raises(UnknownNameError, match="did you mean 'auroc'"):
        build_leaderboard(given, metrics=["aurok"])
    with pytest.raises(UnknownNameError, match="did you mean 'auroc'"):
        build_leaderboard(given, sort="aurok")


def test_a_known_metric_without_rows_is_an_empty_column(rows: Rows) -> None:
    """Declared, but not in these results: nulls with a footnote."""
    table = build_leaderboard(
        rows({"auroc": 0.5}), specs=SPECS, metrics=["auroc", "brier"]
    )

    assert table.lines[0].cells[1].value is None
    assert "brier: not in these results" in table.footnotes


def test_an_equal_line_of_another_run_is_shown_once(rows: Rows) -> None:
    """The same combination with the same numbers in two runs is one line."""
    given = [*rows({"auroc": 0.5}), *rows({"auroc": 0.5}, run="again")]

    assert 1 == len(build_leaderboard(given).lines)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (
            [{"params": {"eps": 0.1, "d": 9}}, {"params": {"eps": 0.01, "d": 9}}],
            {"greedy [eps=0.1]", "greedy [eps=0.01]"},
        ),
        (
            [
                {"dtype": "float32", "evidence_key": "a"},
                {"dtype": "bfloat16", "evidence_key": "b"},
            ],
            {"greedy [float32]", "greedy [bfloat16]"},
        ),
        ([{"run": "a"}, {"run": "b", "n": 4}], {"greedy [a]", "greedy [b]"}),
    ],
)
def test_lines_that_would_read_the_same_are_disambiguated(
    rows: Rows, fields: list[dict], shown: set[str]
) -> None:
    """By their options, else the number type, else the run."""
    given = [row for some in fields for row in rows({"auroc": 0.5}, **some)]

    assert shown == set(names(build_leaderboard(given)))


CONFLICTING = (
    "have a text that occurs with the other label, too, so that no guard can have all "
    "of them right"
)


def test_footnotes(rows: Rows) -> None:
    """Demonstration models, nulls, thresholds, truncation and contamination."""
    tiny = {"model": "tiny-guard (embedded)"}
    given = [
        *rows(
            {"auroc": 0.5, "f1": 0.4},
            strategy="greedy",
            n_truncated=3,
            n_conflicting=2,
            **tiny,
        ),
        *rows({"auroc": None}, strategy="none", n_failed=1, note="no score"),
        *rows({"f1": 0.4}, strategy="none", n_failed=1),
    ]
    other = rows({"auroc": 0.5, "f1": 0.4}, classifier="b", contaminated=True)
    table = build_leaderboard([*given, *other], specs=SPECS)

    embedded, *others = table.footnotes
    assert embedded.startswith("tiny-guard (embedded) is a small demonstration model")
    assert [
        "auroc (guard/none): no score",
        "decisions at a score from 0.5 (fixed)",
        "failed samples count as wrong decisions; metrics of scores leave them out",
        "guard on set:test: 3 of 8 samples were truncated",
        f"set:test: 2 of 8 samples {CONFLICTING}",
        "b on set:test: the model may have been trained on this set, or on its prompts",
    ] == others


def test_thresholds_that_differ_are_named(rows: Rows) -> None:
    """Fitted and fixed thresholds stand beside the lines that use them."""
    fitted = {"threshold": 0.3125, "threshold_from": "calibration"}
    given = [
        *rows({"f1": 0.5}, strategy="a"),
        *rows({"f1": 0.5}, strategy="b", **fitted),
    ]

    assert (
        "decisions at a score from 0.5 (fixed) for a; 0.3125 (calibration) for b",
    ) == build_leaderboard(given, specs=SPECS).footnotes


def test_a_rule_in_place_of_a_threshold_is_named(rows: Rows) -> None:
    """Nothing is said of a score where no score was compared with anything."""
    rule = {"threshold_from": "no threshold: the provider's verdict"}
    alone = rows({"f1": 0.5}, strategy="b", **rule)
    beside = [*rows({"f1": 0.5}, strategy="a"), *alone]

    assert (
        "decisions by the provider's verdict"
        in build_leaderboard(alone, specs=SPECS).footnotes
    )
    assert (
        "decisions at a score from 0.5 (fixed) for a; by the provider's verdict for b"
        in build_leaderboard(beside, specs=SPECS).footnotes
    )


def test_a_table_of_unranked_lines_says_so_of_all(rows: Rows) -> None:
    """The footnote names somebody even where every line saw the test labels."""
    table = build_leaderboard(rows({"auroc": 0.9}, threshold_from="test (original)"))

    assert "not ranked, saw the test labels: every line" in table.footnotes
