"""The leaderboard of a terminal: scores, then uncertainties, nothing twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from safebench.console import RenderOptions
from safebench.metrics.catalog import SPECS
from safebench.reporters.footnotes import named
from safebench.reporters.formats import render_csv, render_json, render_terminal
from safebench.reporters.leaderboard import build_leaderboard

if TYPE_CHECKING:
    from conftest import Rows

    from safebench.results import Row

NARROW = RenderOptions(width=80)


def strategy(
    rows: Rows,
    name: str,
    auroc: float | None,
    error_auroc: float | None,
    fpr: float = 0.25,
    **fields: Any,
) -> list[Row]:
    """Return what a strategy has: its score, its decisions and its uncertainty."""
    values = {"auroc": auroc, "fpr": fpr, "accuracy": 1 - fpr}
    errors = {
        "error_auroc": error_auroc,
        "aurc": None if error_auroc is None else 1 - error_auroc,
    }
    return rows({**values, **errors}, strategy=name, **fields)


@pytest.fixture
def one_set(rows: Rows) -> list[Row]:
    """Return two guards on one set; three scores differ, and two uncertainties."""
    return [
        *strategy(rows, "first", 0.9, 0.75),
        *strategy(rows, "joint", 0.9, 0.625),
        *strategy(rows, "greedy", 0.8, 0.75),
        *strategy(rows, "energy", None, 0.5),
        *strategy(rows, "odd", None, 0.25, fpr=0.75),
        *strategy(rows, "score", 0.7, None, classifier="words", model="words"),
    ]


def test_one_set(one_set: list[Row]) -> None:
    """The whole text: who was folded is named, with other decisions nobody is."""
    text = render_terminal(build_leaderboard(one_set, specs=SPECS), NARROW)
    expected = """
set:test (prompt_harm): 8 samples, 4 positive ──────────────────────────────────
   classifier  model      strategy   auroc     fpr  accuracy  n  failed
───────────────────────────────────────────────────────────────────────
1  guard       org/guard  first     0.900*  0.250*    0.750*  8       0
2  guard       org/guard  greedy     0.800  0.250*    0.750*  8       0
3  words       words      score      0.700  0.250*    0.750*  8       0
   guard       org/guard  odd            -   0.750     0.250  8       0

uncertainties on set:test (prompt_harm): 8 samples, 4 positive ─────────────────
   classifier  model      strategy  error_auroc    aurc     acc  n  failed
──────────────────────────────────────────────────────────────────────────
1  guard       org/guard  first          0.750*  0.250*  0.750*  8       0
2  guard       org/guard  joint           0.625   0.375  0.750*  8       0
3  guard       org/guard  energy          0.500   0.500  0.750*  8       0
4  guard       org/guard  odd             0.250   0.750   0.250  8       0

- * best of its column on a dataset
- guard first = joint
- guard first: the same decisions, without a score: energy
- decisions at a score from 0.5 (fixed)
- uncertainties: each is judged by the errors of its guard's own decisions (.5:
  chance)
- uncertainties of guard: first = greedy
"""
    assert expected.strip() == text


def test_two_sets(rows: Rows) -> None:
    """The mean over both sets orders; what misses a set has no mean, and says so."""
    on = {"a": {"dataset": "a"}, "b": {"dataset": "b"}}
    given = [
        *strategy(rows, "first", 0.9, 0.75, **on["a"]),
        *strategy(rows, "second", 0.8, 0.5, **on["a"]),
        *strategy(rows, "first", 0.7, 0.25, **on["b"]),
        *strategy(rows, "second", 0.8, 0.75, **on["b"]),
        *strategy(rows, "third", 0.6, 0.875, **on["b"]),
    ]
    text = render_terminal(build_leaderboard(given, specs=SPECS), NARROW)
    expected = """
a:test (prompt_harm): 8 samples, 4 positive ────────────────────────────────────
   classifier  model      strategy   auroc     fpr  accuracy  n  failed
───────────────────────────────────────────────────────────────────────
1  guard       org/guard  first     0.900*   0.250     0.750  8       0
2  guard       org/guard  second     0.800   0.250     0.750  8       0
b:test (prompt_harm): 8 samples, 4 positive ────────────────────────────────────
1  guard       org/guard  second    0.800*   0.250     0.750  8       0
2  guard       org/guard  first      0.700   0.250     0.750  8       0
3  guard       org/guard  third      0.600   0.250     0.750  8       0

uncertainties on 2 sets (prompt_harm) ──────────────────────────────────────────
                                     error
   classifier  model      strategy   auroc    aurc       a       b   n  failed
──────────────────────────────────────────────────────────────────────────────
1  guard       org/guard  second    0.625*  0.375*   0.500   0.750  16       0
2  guard       org/guard  first      0.500   0.500  0.750*   0.250  16       0
   guard       org/guard  third          -       -       -  0.875*   8       0

- * best of its column on a dataset
- decisions at a score from 0.5 (fixed)
- uncertainties: mean over the sets, then error AUROC on each; each is judged by
  the errors of its guard's own decisions (.5: chance)
- guard third: no mean: not on a:test
"""
    assert expected.strip() == text


@pytest.mark.parametrize(
    ("change", "folded"),
    [
        ({}, True),
        ({"value": 0.90001}, False),  # reads the same, and is not
        ({"n_failed": 1}, False),
        ({"threshold": 0.25}, False),
        ({"threshold_from": "test (original)"}, False),
        ({"model": "org/other"}, False),
        ({"note": "two-valued score"}, False),
    ],
)
def test_only_what_says_the_same_is_folded(
    rows: Rows, change: dict[str, Any], folded: bool
) -> None:
    """Equal to the last digit, by the same model, with the same remarks."""
    value = change.pop("value", 0.9)
    given = [
        *rows({"auroc": 0.9}, strategy="one"),
        *rows({"auroc": value}, strategy="two", **change),
    ]
    (block,) = build_leaderboard(given, specs=SPECS).blocks

    assert (1 if folded else 2) == len(block.lines)
    assert folded == any("guard one = two" in note for note in block.footnotes)


def test_a_fold_of_one_set_names_it(rows: Rows) -> None:
    """Equal on one set and different on another."""
    given = [
        *rows({"auroc": 0.9}, strategy="one", dataset="a"),
        *rows({"auroc": 0.9}, strategy="two", dataset="a"),
        *rows({"auroc": 0.8}, strategy="one", dataset="b"),
        *rows({"auroc": 0.7}, strategy="two", dataset="b"),
    ]
    (block,) = build_leaderboard(given, specs=SPECS).blocks

    assert "guard one = two (on a:test (prompt_harm))" in block.footnotes
    assert [1, 1, 2] == [line.rank for line in block.lines]


def test_ranks(rows: Rows) -> None:
    """Numbers that read the same share a rank, and the next one is not moved up."""
    given = [
        *rows({"auroc": 0.95}, strategy="saw", threshold_from="test (original)"),
        *rows({"auroc": 0.9}, strategy="one"),
        *rows({"auroc": 0.90001}, strategy="two"),
        *rows({"auroc": 0.8}, strategy="three"),
        *rows({"auroc": None}, strategy="none"),
    ]
    (block,) = build_leaderboard(given, specs=SPECS).blocks
    ranks = {line.strategy: line.rank for line in block.lines}

    assert {"two": 1, "one": 1, "three": 3, "none": None, "saw": None} == ranks


def test_the_best_uncertainties_and_the_number_of_the_others(rows: Rows) -> None:
    """Nine uncertainties: five lines, and the four others are counted."""
    given = [
        row
        for place in range(9)
        for row in strategy(rows, f"u{place}", 0.9, 0.9 - place / 10)
    ]
    _, block = build_leaderboard(given, specs=SPECS).blocks

    assert [f"u{place}" for place in range(5)] == [line.method for line in block.lines]
    assert any(
        "4 more uncertainties of guard, up to 0.400" in note for note in block.footnotes
    )


@pytest.fixture
def noted(one_set: list[Row]) -> list[Row]:
    """Return the guards with licences, models that are folded, and notes on numbers."""
    notes = {
        "first": "the interval rests on 6 positives: few; two-valued",
        "joint": "the interval rests on 6 positives: few; two-valued",
        "greedy": "the interval rests on 1,200 positives: few",
    }
    return [
        replace(
            row,
            model=f"{row.model}-of-a-name-that-takes-too-much-room-for-a-narrow-table",
            licence="MIT",
            contaminated=row.classifier == "words",
            note=notes.get(row.strategy, "") if row.metric in {"auroc", "fpr"} else "",
        )
        for row in one_set
    ]


def test_many_explanations_are_counted(noted: list[Row]) -> None:
    """What takes something from a number stays; --notes shows all."""
    table = build_leaderboard(noted, specs=SPECS)
    folded = render_terminal(table, NARROW)
    whole = render_terminal(table, replace(NARROW, every_note=True))
    shown = [note.strip() for note in folded.partition("\n- ")[2].split("\n- ")]
    every = [note.strip() for note in whole.partition("\n- ")[2].split("\n- ")]

    gone = [note for note in every if note not in shown]
    counted = f"{len(gone)} more notes with leaderboard --notes: models, equal"
    assert counted in " ".join(shown[-1].split())
    assert len(every) - len(gone) == len(shown) - 1
    assert any("words on set:test: the model may have been" in note for note in shown)
    assert any("licences of the data: set:test: MIT" == note for note in gone)
    assert any("decisions at a score from 0.5" in note for note in gone)


def test_notes_on_intervals_are_one_with_a_range(noted: list[Row]) -> None:
    """Each kind is said once; without intervals nothing is said of them."""
    table = build_leaderboard(noted, specs=SPECS, ci=True, metrics=["auroc", "fpr"])
    text = " ".join(render_terminal(table, NARROW).split())

    assert text.count("the interval rests on") == 1
    assert "auroc, fpr (" in text
    assert "the interval rests on 6 to 1,200 positives: few" in text
    assert "two-valued" in text
    plain = build_leaderboard(noted, specs=SPECS, metrics=["auroc", "fpr"])
    assert "the interval" not in render_terminal(plain, NARROW)


def test_numbers_of_one_note_are_counted_where_lines_differ(rows: Rows) -> None:
    """AUROC of two lines and FPR of one: three numbers."""
    given = [
        *rows({"auroc": 0.9, "fpr": 0.1}, strategy="a", note="odd"),
        *rows({"auroc": 0.8}, strategy="b", note="odd"),
        *rows({"fpr": 0.2}, strategy="b"),
    ]
    text = render_terminal(build_leaderboard(given, specs=SPECS), NARROW)

    assert "- 3 numbers (auroc, fpr): odd" in text


def test_chosen_columns_are_one_block(one_set: list[Row]) -> None:
    """Whoever asks for columns gets those, folded where they are equal."""
    table = build_leaderboard(one_set, specs=SPECS, metrics=["error_auroc", "aurc"])
    (block,) = table.blocks

    assert ("error_auroc", "aurc") == block.metrics
    assert ["first", "joint", "energy", "odd", "score"] == [
        line.method for line in block.lines
    ]


def test_programs_get_every_line(one_set: list[Row]) -> None:
    """CSV and JSON fold nothing."""
    table = build_leaderboard(one_set, specs=SPECS)

    assert 7 == len(render_csv(table, NARROW).splitlines())
    assert 6 == len(json.loads(render_json(table, NARROW)))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "a"),
        (["a", "b", "c", "d"], "a, b, c, d"),
        (["a", "b", "c", "d", "e"], "a, b, c and 2 more"),
    ],
)
def test_named(names: list[str], text: str) -> None:
    """The first three, and the number of the others."""
    assert text == named(names)
