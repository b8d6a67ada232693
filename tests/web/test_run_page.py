"""The page of a run: nothing twice, and from each line to its errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

    Read = Callable[..., Any]
    Make = Callable[..., Path]

HOSTILE = "<b>x</b>"


def row(strategy: str, metric: str, value: float, **fields: Any) -> dict[str, Any]:
    """Return fields of a result row."""
    return {"strategy": strategy, "metric": metric, "value": value} | fields


def line(id_: str, decision: Any, label: Any, **fields: Any) -> dict[str, Any]:
    """Return one prediction of the test part."""
    values = {"id": id_, "part": "test", "decision": decision, "label": label}
    return values | {"score": 0.5, "threshold": 0.5, "error": None} | fields


@pytest.fixture
def run(make_run: Make) -> Path:
    """Write a run with two strategies of equal numbers, and predictions of one."""
    rows = [
        row(strategy, metric, value, higher_is_better=metric == "auroc")
        for strategy in ("score", "other")
        for metric, value in (("auroc", 0.7), ("fn", 2.0), ("fp", 1.0))
    ]
    lines = [
        line("a", False, True),
        line("b", False, True),
        line("c", True, False),
        line("held", False, True, part="calibration"),
        line("right", True, True),
    ]
    return make_run("tried", rows, lines)


def test_a_line_leads_to_its_errors_with_their_number(
    client: FlaskClient, read_page: Read, run: Path
) -> None:
    """As many as the page behind the link shows: those of the test part."""
    page = read_page(client.get("/runs/tried"))

    links = {
        " ".join(text.split()): attrs["href"]
        for attrs, text in zip(page.all("a"), page.texts["a"], strict=True)
    }
    for words, n in (("2 false negatives", 2), ("1 false positives", 1)):
        shown = read_page(client.get(links[words]))
        noun = "prediction" if n == 1 else "predictions"
        assert re.search(rf"\b{n} {noun}, ", shown.text())
    assert "least sure" in links


def test_lines_with_equal_numbers_are_one(
    client: FlaskClient, read_page: Read, run: Path
) -> None:
    """The others are named under it; none is lost."""
    page = read_page(client.get("/runs/tried"))

    heads = zip(page.all("th"), page.texts["th"], strict=True)
    (head,) = (text for attrs, text in heads if attrs.get("scope") == "row")
    folded = " ".join(head.split())
    assert "and 1 with equal numbers" in folded
    assert {"score", "other"} <= set(re.split(r"\W+", folded))


def test_failed_samples_have_a_link_of_their_own(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """They count as errors in a metric, and not in a list: no number is said twice."""
    rows = [row("score", name, 2.0, n_failed=1) for name in ("fn", "fp", "accuracy")]
    make_run("tried", rows, [line("a", None, True, error="no level")])

    page = read_page(client.get("/runs/tried"))

    texts = [" ".join(text.split()) for text in page.texts["a"]]
    assert {"1 failed", "false negatives", "false positives"} <= set(texts)


def test_without_predictions_nothing_is_linked(
    client: FlaskClient, read_page: Read, run: Path
) -> None:
    """As after `run --predictions none`."""
    for path in run.glob("predictions/*/*/*"):
        path.unlink()

    page = read_page(client.get("/runs/tried"))

    assert "false negatives" not in page.text()


def test_names_stay_text(client: FlaskClient, read_page: Read, make_run: Make) -> None:
    """Of guards, sets, strategies and calibrators, in cells and in folded lines."""
    names = {"classifier": HOSTILE, "dataset": HOSTILE, "calibrator": HOSTILE}
    rows = [row(f"{HOSTILE}{i}", "auroc", 0.7, **names) for i in range(2)]
    make_run("tried", rows)

    page = read_page(client.get("/runs/tried"))

    assert "b" not in page.names
    assert 2 <= page.text().count(HOSTILE)
