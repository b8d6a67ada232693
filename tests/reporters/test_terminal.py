"""The terminal table: it fits, names stay whole or wrap, markup is inert."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len

from safebench.console import RenderOptions
from safebench.metrics.catalog import SPECS
from safebench.reporters.formats import render_terminal
from safebench.reporters.layout import shrink_widths, wrap_name
from safebench.reporters.leaderboard import build_leaderboard

if TYPE_CHECKING:
    from conftest import Rows

    from safebench.reporters.table import Leaderboard

ALL = ["auroc", "auprc", "f1", "precision", "recall", "fpr", "accuracy", "micro_f1"]
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def values(start: float) -> dict[str, float | None]:
    """Return a number for each default column."""
    return {name: start + i / 100 for i, name in enumerate(ALL)}


@pytest.fixture
def first(rows: Rows) -> Leaderboard:
    """Return the table of a first run: the embedded guard, two strategies."""
    tiny = {"classifier": "llamaguard", "model": "tiny-guard (embedded)", "n": 312}
    given = [
        *rows(values(0.8), strategy="marginal_any", **tiny),
        *rows(values(0.7), strategy="greedy", n_failed=2, **tiny),
    ]
    return build_leaderboard(given, specs=SPECS)


@pytest.fixture
def long(rows: Rows) -> Leaderboard:
    """Return a table with long names, two datasets, and unequal sizes."""
    given = [
        *rows(values(0.8), model="meta-llama/Llama-Guard-3-8B", strategy="logtoku"),
        *rows(values(0.7), strategy="probability_uncertainty_of_a_plugin", n=7),
        *rows(values(0.1), classifier="a-classifier-with-a-long-label"),
        *rows(values(0.6), dataset="wildguardmix_response", task="response_harm"),
        *rows(values(0.5), dataset="wildguardmix_response", model="x" * 60),
    ]
    return build_leaderboard(given, specs=SPECS)


def test_small_table(rows: Rows) -> None:
    """The whole text of a small table, as a pipe gets it."""
    given = [
        *rows({"auroc": 0.9, "fpr": 0.25}, strategy="marginal_any"),
        *rows({"auroc": 0.8, "fpr": 0.125}),
        *rows({"auroc": None, "fpr": 0.5}, strategy="none", note="no score"),
    ]
    text = render_terminal(
        build_leaderboard(given, metrics=["auroc", "fpr"]), RenderOptions(width=80)
    )
    expected = """
set:test (prompt_harm): 8 samples, 4 positive ──────────────────────────────────
   classifier  model      strategy       auroc     fpr  n  failed
─────────────────────────────────────────────────────────────────
1  guard       org/guard  marginal_any  0.900*   0.250  8       0
2  guard       org/guard  greedy         0.800  0.125*  8       0
   guard       org/guard  none               -   0.500  8       0

- * best of its column on a dataset
- auroc, fpr (none): no score
"""
    assert expected.strip() == text


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
@pytest.mark.parametrize("styles", [True, False])
@pytest.mark.parametrize("name", ["first", "long"])
def test_no_line_is_wider_than_the_terminal(
    request: pytest.FixtureRequest, name: str, width: int, styles: bool
) -> None:
    """Whatever the names, every line fits, styled or plain."""
    table = request.getfixturevalue(name)
    text = ANSI.sub(
        "",
        render_terminal(
            table, RenderOptions(width=width, styles=styles, colour=styles)
        ),
    )

    assert [] == [line for line in text.split("\n") if cell_len(line) > width]


@pytest.mark.parametrize("styles", [True, False])
def test_eighty_columns_hold_the_first_table_whole(
    first: Leaderboard, styles: bool
) -> None:
    """All eight metrics are there; what was folded stands below the table."""
    text = ANSI.sub("", render_terminal(first, RenderOptions(width=80, styles=styles)))

    assert "no room for" not in text
    assert all(f"{v:.3f}" in text for v in values(0.8).values() if v)
    assert "312 samples" in text
    assert "llamaguard: model tiny-guard (embedded)" in text
    assert "llamaguard/greedy on set:test: 2 of 312 samples failed" in text


def test_a_wide_terminal_shows_every_column(first: Leaderboard) -> None:
    """At 140 columns headers are the metric ids, and nothing is folded."""
    lines = render_terminal(first, RenderOptions(width=140)).split("\n")

    assert ["classifier", "model", "strategy", *ALL, "n", "failed"] == lines[1].split()
    assert lines[3].split() == [
        "1",
        "llamaguard",
        "tiny-guard",
        "(embedded)",
        "marginal_any",
        *(f"{v:.3f}{'' if name == 'fpr' else '*'}" for name, v in values(0.8).items()),
        "312",
        "0",
    ]


def test_what_has_no_room_is_named_and_the_sorting_metric_stays(
    first: Leaderboard,
) -> None:
    """At 40 columns metrics leave from the right; a note names them."""
    text = render_terminal(first, RenderOptions(width=40))

    assert "auroc" in text.split("\n")[1]
    assert "no room for" in text
    assert "micro_f1" in text.partition("no room for")[2]


def test_styles_only_where_allowed(first: Leaderboard) -> None:
    """Files get no escape; NO_COLOR keeps bold; a terminal gets both."""
    plain = render_terminal(first, RenderOptions(width=80))
    bold = render_terminal(first, RenderOptions(width=80, styles=True))
    colour = render_terminal(first, RenderOptions(width=80, styles=True, colour=True))

    assert "\x1b" not in plain
    assert "\x1b[1m0.800" in bold
    assert "32m" not in bold
    assert "\x1b[1;32m0.800" in colour
    # the metric that sorts is green, the best of the others are bold alone
    assert 1 == colour.count("32m")
    assert "\x1b[1m0.810" in colour


def test_markup_in_names_is_text(rows: Rows) -> None:
    """Square brackets of rich, emoji codes and links are drawn as they are."""
    odd = "[bold red]x[/] :bomb: [link=http://a]"
    given = build_leaderboard(rows({"auroc": 0.5}, model=odd, note="[/] [red]"))
    text = render_terminal(given, RenderOptions(width=120, styles=True, colour=True))

    assert odd in ANSI.sub("", text)
    assert "auroc: [/] [red]" in ANSI.sub("", text)


def test_a_terminal_without_unicode_gets_ascii(rows: Rows) -> None:
    """Lines are drawn in ASCII and letters that are missing become ``?``."""
    given = build_leaderboard(rows({"auroc": 0.5}, model="données"))
    text = render_terminal(given, RenderOptions(width=80, encoding="ascii"))

    assert text.isascii()
    assert "donn?es" in text


def test_wide_characters_count_as_two(rows: Rows) -> None:
    """East Asian names take two cells a character, and still fit."""
    given = build_leaderboard(rows(values(0.5), classifier="守" * 30, model="門" * 30))
    text = render_terminal(given, RenderOptions(width=80))

    assert [] == [line for line in text.split("\n") if cell_len(line) > 80]


def test_two_models_under_one_label_get_their_model_names(rows: Rows) -> None:
    """Without room for the model column, the short model name stands for both."""
    given = [
        *rows(values(0.5), model="meta-llama/Llama-Guard-3-8B"),
        *rows(values(0.6), model="meta-llama/Llama-Guard-3-1B"),
    ]
    text = render_terminal(build_leaderboard(given), RenderOptions(width=80))

    assert "Llama-Guard-3-8B: model meta-llama/Llama-Guard-3-8B" in text


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("greedy", 14, ["greedy"]),
        ("probability_uncertainty", 14, ["probability_", "uncertainty"]),
        ("xxxxxxxxxx", 4, ["xxxx", "xxxx", "xx"]),
        ("a_bbbbbbbb", 4, ["a_", "bbbb", "bbbb"]),
    ],
)
def test_names_wrap_at_their_joints(text: str, width: int, lines: list[str]) -> None:
    """After an underscore or the like where possible, else anywhere."""
    assert lines == wrap_name(text, width).split("\n")


def test_the_longest_name_shrinks_first() -> None:
    """Room is taken from the widest column, and none goes below 14 cells."""
    assert [10, 20] == shrink_widths([10, 33], 30)
    assert [14, 14] == shrink_widths([20, 33], 10)


def test_one_sample_is_in_the_singular(rows: Rows) -> None:
    """Sections count samples as people do."""
    table = build_leaderboard(rows({"accuracy": 1.0}, n=1, n_pos=0))

    assert "set:test (prompt_harm): 1 sample, 0 positive" in render_terminal(
        table, RenderOptions()
    )
