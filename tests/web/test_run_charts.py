"""Charts on the pages of a run: drawn once, and said in words where need be."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from safebench.web import run_charts
from safebench.web.run_charts import ChartCache, sets_of_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Page
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    MakeRun = Callable[..., Path]
    ReadPage = Callable[[TestResponse], Page]

SCORES = (0.9, 0.4, 0.6, 0.1)
LABELS = (True, True, False, False)


def lines(labels: Any = LABELS, **fields: Any) -> list[dict[str, Any]]:
    """Return predictions of a set of samples."""
    return [
        {
            "id": f"p{i}", "content": f"c{i}", "group": f"g{i}", "strategy": "score",
            "classifier": "keyword", "model": "built-in words", "dataset": "mine",
            "config": None, "split": "all", "part": "test", "task": "prompt_harm",
            "score": score, "probability": True, "threshold": 0.5, "error": None,
            "decision": score >= 0.5, "label": label,
        }
        | fields
        for i, (score, label) in enumerate(zip(SCORES, labels, strict=True))
    ]  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Return the results of these."""
    return [{"metric": "auroc", "value": 0.75, "ci_low": 0.2, "ci_high": 0.95}]


def test_the_page_of_a_run_has_its_charts(
    client: FlaskClient, make_run: MakeRun, read_page: ReadPage
) -> None:
    """With their numbers in words; colours come from a style sheet of this site."""
    make_run("tried", rows(), lines())

    page = read_page(client.get("/runs/tried"))

    assert 4 == page.names.count("figure")
    assert 4 == len([a for a in page.all("svg") if a.get("role") == "img"])
    assert "keyword score: AUROC 0.750 [0.200 0.950]" in " ".join(page.texts["title"])
    assert not [attrs for _, attrs in page.tags if "style" in attrs]
    assert "script" not in page.names
    sheets = [str(attrs["href"]) for attrs in page.all("link")]
    style = client.get(sheets[-1])
    assert "text/css" in style.headers["Content-Type"]
    assert ".chart svg .curve" in style.text


def test_every_set_has_a_page_of_its_charts(
    client: FlaskClient, make_run: MakeRun, read_page: ReadPage
) -> None:
    """Another place is none, whatever folder it leads to."""
    make_run("tried", rows(), lines([True] * 4))

    page = read_page(client.get("/runs/tried/charts/mine.all"))

    assert "All 4 samples are positive" in page.text()
    assert 404 == client.get("/runs/tried/charts/other.all").status_code
    assert 404 == client.get("/runs/tried/charts/..").status_code


def test_a_page_does_not_wait_for_charts(
    client: FlaskClient,
    make_run: MakeRun,
    read_page: ReadPage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It leads to a page that looks for them until they are there."""
    make_run("tried", rows(), lines())
    go_on, draw = threading.Event(), run_charts.draw_set
    drawn = []

    def slow(*args: Any) -> Any:
        drawn.append(args)
        assert go_on.wait(240)
        return draw(*args)

    monkeypatch.setattr(run_charts, "draw_set", slow)
    monkeypatch.setattr(run_charts, "MOMENT_SECONDS", 0.05)

    first = read_page(client.get("/runs/tried"))
    waiting = read_page(client.get("/runs/tried/charts/mine.all"))
    go_on.set()
    monkeypatch.setattr(run_charts, "MOMENT_SECONDS", 30.0)
    ready = read_page(client.get("/runs/tried/charts/mine.all"))

    assert "are being drawn" in first.text()
    refresh = [a for a in waiting.all("meta") if a.get("http-equiv") == "refresh"]
    assert 1 == len(refresh)
    assert not [a for a in ready.all("meta") if a.get("http-equiv") == "refresh"]
    assert 4 == ready.names.count("figure")
    assert 1 == len(drawn)


def test_charts_follow_the_state_of_their_files(
    client: FlaskClient, make_run: MakeRun, read_page: ReadPage
) -> None:
    """A run that goes on has other charts; nothing old is shown."""
    folder = make_run("tried", rows(), lines())
    before = read_page(client.get("/runs/tried/charts/mine.all")).text()
    file = folder / "predictions" / "keyword" / "mine.all" / "score.jsonl"
    text = file.read_text("utf-8").replace("0.4", "0.95")
    file.write_text(text.replace('"decision": false', '"decision": true', 1), "utf-8")
    os.utime(file, ns=(0, 0))  # a clock may tick seldom, and the size is the same

    after = read_page(client.get("/runs/tried/charts/mine.all")).text()

    assert "0.750" in before
    assert "1.000" in after


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}\n", "is no prediction"),
        ("", "the file is empty"),
        ('{"id": "p0"}\n', "lacks"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_hides_nothing_else(
    client: FlaskClient,
    make_run: MakeRun,
    read_page: ReadPage,
    text: str,
    words: str,
) -> None:
    """The table of the run is there all the same."""
    folder = make_run("tried", rows())
    file = folder / "predictions" / "keyword" / "mine.all" / "score.jsonl"
    file.write_text(text, "utf-8")

    page = read_page(client.get("/runs/tried"))

    assert words in page.text()
    assert "0.750" in page.text()


def test_too_many_predictions_are_left_to_the_report(
    client: FlaskClient,
    make_run: MakeRun,
    read_page: ReadPage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the command that draws them."""
    make_run("tried", rows(), lines())
    monkeypatch.setattr(run_charts, "MAX_SET_BYTES", 100)

    page = read_page(client.get("/runs/tried"))

    assert "safebench report RUN" in page.text()


def test_a_hostile_name_is_text(
    client: FlaskClient, make_run: MakeRun, read_page: ReadPage
) -> None:
    """Names in a drawing come from the files of others."""
    name = "</title><script>alert(1)</script>\u202e"
    make_run("tried", [rows()[0] | {"classifier": name}], lines(classifier=name))

    response = client.get("/runs/tried/charts/mine.all")

    page = read_page(response)
    assert 4 == page.names.count("figure")
    assert "script" not in page.names
    assert "\u202e" not in response.text


def test_sets_that_wait_are_no_more_than_a_few(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a thread: whoever asks for many does not start many."""
    from safebench.web.browsed_runs import find_runs

    folder = make_run("tried", rows(), lines())
    root = folder / "predictions" / "keyword"
    for k in range(20):
        place = root / f"set{k}.all"
        place.mkdir()
        (place / "score.jsonl").write_text("{}\n", "utf-8")
    run = find_runs((str(folder),))["tried"]
    go_on = threading.Event()

    def slow(*_: Any) -> list[Any]:
        assert go_on.wait(240)
        return []

    monkeypatch.setattr(run_charts, "draw_set", slow)
    before = threading.active_count()
    cache = ChartCache()
    jobs = [cache.job(run, place) for place in sets_of_run(run)]

    assert threading.active_count() - before <= run_charts.MAX_WAITING
    go_on.set()
    assert all(job.finished.wait(240) for job in jobs[: run_charts.MAX_WAITING])
