"""The charts of a set: what is drawn, what is said in words, and that it is safe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from safebench.charts import (
    ChartCard,
    chart_css,
    member_spread_card,
    set_charts,
    uncertainty_card,
)
from safebench.charts.svg import Axis, shortened, ticks
from safebench.results import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from safebench.charts.curves import ChartEntry

    MakeEntry = Callable[..., ChartEntry]

SVG = "{http://www.w3.org/2000/svg}"
SCORE = (0.9, 0.4, 0.6, 0.1)


def cards(*entries: ChartEntry) -> dict[str, ChartCard]:
    """Return the charts by kind; each must be well-formed."""
    made = {card.kind: card for card in set_charts(entries)}
    for card in made.values():
        ET.fromstring(card.html)
        assert bool(card.svg) != bool(card.reason)
    return made


def paths(svg: str, kind: str) -> list[str]:
    """Return the paths of the elements of a class."""
    root = ET.fromstring(svg)
    return [
        element.get("d", "")
        for element in root.iter("path")
        if kind in (element.get("class") or "").split()
    ]


def test_all_four_charts_are_drawn_and_say_their_numbers_in_words(
    entry: MakeEntry,
) -> None:
    """The title of each drawing is what a screen reader reads."""
    made = cards(entry(score=SCORE, uncertainty=(0.1, 0.9, 0.8, 0.1)))

    assert ["roc", "pr", "risk", "reliability"] == list(made)
    title = re.search("<title>(.*?)</title>", made["roc"].svg)
    assert title
    assert "ROC curves. guard mean: AUROC 0.750" == title[1]
    assert all('role="img"' in card.svg for card in made.values())


def test_a_curve_goes_through_its_points(entry: MakeEntry) -> None:
    """ROC of 0.9+ 0.6- 0.4+ 0.1-: up, right, up, right; the plot is 344 by 250."""
    card = cards(entry(score=SCORE))["roc"]

    drawn = [d for d in paths(card.svg, "curve") if d.count("L")]
    assert ["M46 258L46 133L218 133L218 8L390 8"] == drawn


def test_precision_holds_down_to_the_recall_before(entry: MakeEntry) -> None:
    """As in average precision: between two recalls that of the larger one holds."""
    card = cards(entry(score=(0.9, 0.4, 0.6, 0.1)))["pr"]

    # (0.5, 1), (0.5, 1/2), (1, 2/3), (1, 1/2), from the left edge on
    (line,) = [d for d in paths(card.svg, "curve") if d.count("V") > 1]
    assert "M46 8V8H218V133H218V91.3H390V133H390" == line


@pytest.mark.parametrize(("label", "word"), [(True, "positive"), (False, "negative")])
def test_one_class_alone_is_said_in_words(
    entry: MakeEntry, label: bool, word: str
) -> None:
    """There is no empty axis; risk and calibration do not need both."""
    made = cards(entry([label] * 4, score=SCORE))

    assert f"All 4 samples are {word}" in made["roc"].reason
    assert made["pr"].reason == made["roc"].reason
    assert made["risk"].svg
    assert made["reliability"].svg


def test_without_scores_nothing_is_ranked_or_calibrated(entry: MakeEntry) -> None:
    """Decisions alone have neither uncertainty nor probability."""
    made = cards(entry(decision=(True, False, True, False), probability=False))

    assert "No strategy gives a score" in made["roc"].reason
    assert "none gives an uncertainty" in made["risk"].reason
    assert "No strategy gives a score" in made["reliability"].reason


def test_scores_that_are_no_probabilities_have_no_calibration(
    entry: MakeEntry,
) -> None:
    """And the card says what makes probabilities of them."""
    made = cards(entry(score=(5, 1e308, -7, -1e308), probability=False, threshold=0))

    assert "safebench calibrate" in made["reliability"].reason
    assert made["roc"].svg
    assert made["risk"].svg


def test_what_failed_and_what_is_bounded_is_said(entry: MakeEntry) -> None:
    """Failed samples are in no curve; bounds say how far a score may be off."""
    failing = entry(score=SCORE, failed=(3,))
    bounded = entry(
        score=SCORE,
        lower=(0.8, 0.4, 0.6, 0.1),
        upper=(0.95, 0.4, 0.6, 0.1),
        classifier="tree",
    )

    notes = cards(failing, bounded)["roc"].notes

    assert "guard: 1 of 4 samples failed, and are in no curve" in notes
    assert "tree mean: 1 scores are known within bounds, 0.150 wide at most" in notes


def test_the_interval_is_that_of_the_results_if_they_say_the_same(
    entry: MakeEntry,
) -> None:
    """An interval of another number would be wrong without a word."""

    def row(value: float) -> Row:
        return Row(
            run="r", classifier="guard", model="m", strategy="mean", dataset="mine",
            split="all", task="prompt_harm", metric="auroc", value=value, n=4,
            ci_low=0.3, ci_high=0.9,
        )  # fmt: skip

    same = cards(entry(score=SCORE, rows={"auroc": row(0.75)}))["roc"].svg
    other = cards(entry(score=SCORE, rows={"auroc": row(0.76)}))["roc"].svg

    assert "0.750 [0.300 0.900]" in same
    assert "0.300" not in other


def test_hostile_names_are_text(entry: MakeEntry) -> None:
    """In the drawing, in notes and in words; what hides is spelt out."""
    name = "</title><script>alert(1)</script>\u202e&"

    for card in set_charts([entry(score=SCORE, classifier=name, failed=(0,))]):
        root = ET.fromstring(card.html)
        assert not list(root.iter("script"))
        assert "\u202e" not in card.html
    assert any("&lt;U+202E&gt;" in c.html for c in set_charts([entry(
        score=SCORE, classifier=name)]))  # fmt: skip


def test_a_chart_of_many_samples_stays_small(entry: MakeEntry) -> None:
    """Points that nobody can tell apart are not written."""
    random = np.random.default_rng(0)
    y = random.random(4_000) < 0.3
    score = (random.normal(size=4_000) + y).clip(-3, 4) / 7 + 3 / 7

    made = cards(entry(y, score=score))

    assert all(len(card.svg) < 12_000 for card in made.values())


def test_no_element_has_a_style_of_its_own(entry: MakeEntry) -> None:
    """A page may forbid styles inside of elements; colours are classes."""
    for card in cards(entry(score=SCORE)).values():
        assert "style" not in card.html
        assert not re.search("#[0-9a-f]{3}", card.html)


def test_series_differ_by_more_than_their_colour(entry: MakeEntry) -> None:
    """Each of six has dashes and a mark of its own."""
    random = np.random.default_rng(1)
    y = random.random(50) < 0.5
    y[:2] = True, False
    entries = [
        entry(y, score=random.random(50) * k / 6 + y * (1 - k / 6), classifier=f"g{k}")
        for k in range(1, 7)
    ]

    svg = cards(*entries)["roc"].svg

    dashes = set(re.findall(r"curve s\d d(\d)", svg))
    assert {"0", "1", "2", "3", "4", "5"} == dashes
    marks = re.findall(r'class="mark s(\d)" d="M[\d.]+ [\d.]+(.*?)"', svg)
    assert 5 == len({shape for _, shape in marks})  # the sixth is a circle
    css = chart_css()
    rules = [re.search(rf"\.d{k} {{ (.*?) }}", css) for k in range(1, 6)]
    assert 5 == len({rule[1] for rule in rules if rule})


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
              for c in channels]  # fmt: skip
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(
    ("scheme", "ground"), [("light", "#fcfcfb"), ("dark", "#14161a")]
)
def test_lines_are_seen_on_light_and_on_dark(scheme: str, ground: str) -> None:
    """A contrast of 3 or more, as WCAG asks of graphics."""
    light, dark = chart_css().split("@media screen and (prefers-color-scheme: dark)")
    colours = re.findall(r"--c\d: (#\w{6})", light if scheme == "light" else dark)

    assert 6 == len(set(colours))
    for colour in colours:
        high, low = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3, colour


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 0.44, ["0.0", "0.1", "0.2", "0.3", "0.4"]),
        (0, 0.0125, ["0.0000", "0.0025", "0.0050", "0.0075", "0.0100", "0.0125"]),
        (-3, 7, ["-2", "0", "2", "4", "6"]),
        (100, 1100, ["200", "400", "600", "800", "1000"]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[str]) -> None:
    """At most six, with as many decimals as they need."""
    assert expected == [text for _, text in ticks(Axis(label="x", low=low, high=high))]


def test_a_long_name_loses_its_middle() -> None:
    """Both ends tell names apart: the guard and the strategy."""
    text = shortened("a-very-long-guard-name entropy_uncertainty", 21)

    assert 21 == len(text)
    assert text.startswith("a-very-lon")
    assert text.endswith("ncertainty")


def test_histogram_and_scatter_plot_are_drawn() -> None:
    """Those of one strategy and of an ensemble; equal uncertainties are words."""
    from safebench.analysis.uncertainty import error_detection

    wrong = np.array([False, True, False, True])
    groups = ["a", "b", "c", "d"]
    card = uncertainty_card(
        error_detection(wrong, np.array([0.1, 0.9, 0.2, 0.4]), groups)
    )
    assert "error AUROC 1.000" in card.svg
    ET.fromstring(card.html)
    flat = uncertainty_card(error_detection(wrong, np.zeros(4), groups))
    assert flat.svg or flat.reason
    ET.fromstring(flat.html)


def test_members_are_dots_by_decision() -> None:
    """Right ones round, wrong ones diamonds, both counted."""
    members: Any = type(
        "Members",
        (),
        {
            "wrong": np.array([False, True, False]),
            "mean_probability": np.array([0.1, 0.5, 0.9]),
            "std": np.array([0.0, 0.3, 0.1]),
        },
    )()

    card = member_spread_card(members)

    assert "right, n = 2" in card.svg
    assert 2 == paths(card.svg, "dots")[0].count("h0")
    assert 1 == paths(card.svg, "diamonds")[0].count("z")
