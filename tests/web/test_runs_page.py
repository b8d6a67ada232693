"""Runs on the page: a list, tables that sort by link, predictions one by one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from safebench.web.app import create_app
from safebench.web.browsed_runs import find_runs
from safebench.web.predictions_page import PER_PAGE
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

    from safebench.plugins import Plugins

    Read = Callable[..., Any]
    Make = Callable[..., Path]

ROWS = [
    {"strategy": "a", "metric": "auroc", "value": 0.7},
    {"strategy": "a", "metric": "fpr", "value": 0.2, "higher_is_better": False},
    {"strategy": "b", "metric": "auroc", "value": 0.9},
    {"strategy": "b", "metric": "fpr", "value": 0.4, "higher_is_better": False,
     "bound_low": 0.35, "bound_high": 0.45},
]  # fmt: skip


def line(number: int, decision: Any, label: Any, **more: Any) -> dict[str, Any]:
    """Return one prediction."""
    more = {"uncertainty": None, "error": None, "raw": None} | more
    fields = {"part": "test", "score": 0.5, "decision": decision, "label": label}
    return {"id": f"x-{number}"} | fields | more


def test_without_runs_the_page_says_how_to_make_one(
    client: FlaskClient, read_page: Read
) -> None:
    """No error: there is nothing yet."""
    for address in ("/runs", "/runs/"):
        response = client.get(address)

        assert 200 == response.status_code
        assert "There is no finished run yet" in read_page(response).text()


def test_runs_are_listed_with_what_they_hold(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """Each has a link, its classifiers and datasets, and how many lines."""
    make_run("tried", ROWS)
    make_run("tried again", ROWS[:1])

    page = read_page(client.get("/runs/"))

    assert ["/runs/tried", "/runs/tried%20again"] == [
        a["href"] for a in page.all("a") if (a["href"] or "").startswith("/runs/tr")
    ]
    assert "keyword on mine; 2 lines" in page.text()
    assert "keyword on mine; 1 line" in page.text()


@pytest.mark.parametrize(
    ("address", "order", "sort"),
    [
        ("/runs/tried", ["b", "a"], {"auroc": "descending"}),
        ("/runs/tried?sort=fpr", ["a", "b"], {"fpr": "ascending"}),
        ("/runs/tried?metrics=fpr", ["a", "b"], {"fpr": "ascending"}),
    ],
)
def test_a_table_sorts_by_any_metric(
    client: FlaskClient,
    read_page: Read,
    make_run: Make,
    address: str,
    order: list[str],
    sort: dict[str, str],
) -> None:
    """The best line first, whichever direction is better, and said to all readers."""
    make_run("tried", ROWS)

    page = read_page(client.get(address))

    heads = zip(page.all("th"), page.texts["th"], strict=True)
    by = {text: attrs.get("aria-sort") for attrs, text in heads}
    assert sort == {text: direction for text, direction in by.items() if direction}
    rows = [t[0] for a, t in zip(page.all("th"), page.texts["th"], strict=True)
            if a.get("scope") == "row"]  # fmt: skip
    assert order == rows


def test_numbers_come_with_what_they_leave_open(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """Three decimals, the best marked, bounds below where there are some."""
    make_run("tried", ROWS)

    cells = [
        " ".join(t.split()) for t in read_page(client.get("/runs/tried")).texts["td"]
    ]

    assert "0.900 (best)" in cells
    assert "0.4000.350 to 0.450" in cells


def test_failures_stand_beside_the_number_of_samples(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """How many were judged, and of these how many failed, if any did."""
    make_run("whole", ROWS)
    make_run("broken", [row | {"n_failed": 3} for row in ROWS])

    whole, broken = (read_page(client.get(f"/runs/{n}")) for n in ("whole", "broken"))

    assert "failed" not in whole.text("table")
    assert "43 failed" in [" ".join(text.split()) for text in broken.texts["td"]]


def test_predictions_can_be_narrowed(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """All of them, the wrong ones, the failed ones; unlabelled ones are never wrong."""
    lines = [
        line(1, True, True),
        line(2, True, False),
        line(3, None, True, error="no level"),
        line(4, True, None),
    ]
    make_run("tried", ROWS, lines)
    (path,) = [
        a["href"]
        for a in read_page(client.get("/runs/tried")).all("a")
        if (a["href"] or "").endswith(".jsonl")
    ]

    shown = {
        show: [
            text
            for attrs, text in zip(page.all("th"), page.texts["th"], strict=True)
            if attrs.get("scope") == "row"
        ]
        for show in ("all", "wrong", "failed")
        if (page := read_page(client.get(f"{path}?show={show}")))
    }

    assert {
        "all": ["x-1", "x-2", "x-3", "x-4"],
        "wrong": ["x-2"],
        "failed": ["x-3"],
    } == shown


@pytest.mark.slow
def test_many_predictions_are_turned_like_pages(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """A hundred a page; numbers outside are brought back, nonsense is the first."""
    make_run("tried", ROWS, [line(i, True, True) for i in range(PER_PAGE + 1)])
    path = "/runs/tried/predictions/keyword/mine.all/score.jsonl"

    counts = [
        read_page(client.get(f"{path}?page={number}")).names.count("tr") - 1
        for number in ("1", "2", "99", "-3", "x")
    ]

    assert [PER_PAGE, 1, 1, PER_PAGE, PER_PAGE] == counts


@pytest.mark.parametrize(
    "path",
    [
        "nobody",
        "..",
        "tried/predictions/keyword/mine.all/other.jsonl",
        "tried/predictions/../results.jsonl",
        "tried/predictions/%2e%2e/results.jsonl",
        "tried/predictions//etc/passwd",
        "tried/predictions/keyword/mine.all/score.jsonl?show=secret",
    ],
)
def test_no_address_leads_out_of_a_run(
    client: FlaskClient, make_run: Make, path: str
) -> None:
    """Only the files that are listed are read."""
    make_run("tried", ROWS)

    response = client.get(f"/runs/{path}", follow_redirects=True)

    assert 404 == response.status_code


def test_an_unknown_metric_names_the_nearest(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """As on the command line, as a page."""
    make_run("tried", ROWS)

    response = client.get("/runs/tried?sort=aurc_")

    assert 400 == response.status_code
    assert "did you mean" in read_page(response).text()


def test_runs_of_one_name_are_numbered(make_run: Make, tmp_path: Path) -> None:
    """The second is numbered; one folder named twice is one run."""
    first = make_run("tried", ROWS)
    second = tmp_path / "elsewhere" / "tried"
    second.parent.mkdir()
    first.rename(second)
    first = make_run("tried", ROWS[:1])

    page = find_runs((str(first), str(second), str(second)))

    assert [("tried", 1), ("tried~2", 2)] == [
        (name, run.combinations) for name, run in page.items()
    ]


def test_a_run_that_appears_is_shown(
    odd_guards: Plugins, read_page: Read, make_run: Make, tmp_path: Path
) -> None:
    """Folders are read anew for every page."""
    make_run("first", ROWS)
    client = create_app(
        AppState(plugins=odd_guards, runs=(str(tmp_path / "runs"),))
    ).test_client()
    before = read_page(client.get("/runs/")).text()

    make_run("second", ROWS)

    assert "second" not in before
    assert "second" in read_page(client.get("/runs/")).text()


def test_a_damaged_run_is_named(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """It is told by file and line, in the list and alone, and hides no other run."""
    make_run("good", ROWS)
    folder = make_run("tried", ROWS)
    (folder / "results.jsonl").write_text("{oops\n", encoding="utf-8")

    listed, alone = client.get("/runs/"), client.get("/runs/tried")

    assert [200, 400] == [listed.status_code, alone.status_code]
    for response in (listed, alone):
        assert "tried/results.jsonl:1" in read_page(response).text()
    assert "keyword on mine" in read_page(listed).text()
    assert 200 == client.get("/runs/good").status_code


@pytest.mark.parametrize("line", ["{oops", "[]", "{}", "\udcff"])
def test_damaged_predictions_are_named(
    client: FlaskClient, read_page: Read, make_run: Make, line: str
) -> None:
    """A line that is no prediction is told by file and line."""
    folder = make_run("tried", ROWS, [{"id": "a"}])
    file = folder / "predictions" / "keyword" / "mine.all" / "score.jsonl"
    file.write_bytes(file.read_bytes() + line.encode("utf-8", "surrogateescape"))

    response = client.get("/runs/tried/predictions/keyword/mine.all/score.jsonl")

    assert 400 == response.status_code
    assert "score.jsonl:2 is no prediction" in read_page(response).text()


def test_the_list_says_when_how_many_and_which_line_is_best(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """By the mean over the sets of a run; a line that lacks a set is left out."""
    sets = [("a", "one", 0.7), ("a", "two", 0.9), ("b", "one", 0.85), ("b", "two", 0.6),
            ("lacks", "one", 0.99)]  # fmt: skip
    rows = [
        {"strategy": s, "dataset": d, "metric": "auroc", "value": v, "n": 4}
        for s, d, v in sets
    ]
    os.utime(make_run("tried", rows) / "results.jsonl", (1_000_000_000,) * 2)

    text = read_page(client.get("/runs/")).text()

    assert "2001-09-09 01:46 UTC; n = 8; best auroc 0.800, mean of 2 sets" in text
    assert "keyword/a" in text


@pytest.mark.parametrize(
    ("manifest", "shown"),
    [
        ({"commands": [["safebench", "run", "-d", "my set"]]}, "-d 'my set'"),
        ({"models": {"k": {"model": "m", "facts": {"device": "cuda:0"}}}},
         "k: m; device cuda:0"),
        ({"versions": {"numpy": "<b>2\u202e</b>"}}, "numpy <b>2U+202E</b>"),
        ({"commands": 3, "models": [], "data": "x", "versions": None, "notes": {}}, ""),
    ],
)  # fmt: skip
def test_a_run_says_how_it_was_made(
    client: FlaskClient,
    read_page: Read,
    make_run: Make,
    manifest: dict[str, Any],
    shown: str,
) -> None:
    """Commands, models, devices and versions, as text; nothing of what is none."""
    folder = make_run("tried", ROWS)
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")

    page = read_page(client.get("/runs/tried"))

    assert shown in page.text()
    assert bool(shown) == ("How it was made" in page.text())
    assert "b" not in page.names


@pytest.fixture
def two_runs(make_run: Make) -> list[dict[str, Any]]:
    """Write runs a and b, on the same 40 samples; return the lines of a."""
    fields = {"classifier": "keyword", "strategy": "score", "dataset": "mine",
              "config": None, "split": "all", "task": "prompt_harm", "model": "m",
              "policy": None, "lower": None, "upper": None, "probability": False,
              "categories": None, "gold_categories": None, "tokens_in": 1,
              "threshold": 0.5}  # fmt: skip
    lines = [
        line(i, i % 3 > 0, i % 2 == 0, content=f"c{i}", group=f"g{i}", **fields)
        | {"score": float(i % 3 > 0)}
        for i in range(40)
    ]
    make_run("a", ROWS, lines)
    right = [entry | {"decision": entry["label"]} for entry in lines]
    make_run("b", ROWS, [x | {"score": float(x["label"])} for x in right])
    return lines


def test_two_picked_runs_are_compared(
    client: FlaskClient, read_page: Read, two_runs: list[dict[str, Any]]
) -> None:
    """By paired tests: the better one is named, and the numbers are those of lines."""
    picked = client.get("/runs/?run=a&run=b", follow_redirects=True)

    page = read_page(picked)
    text = page.text()
    wrong = sum(entry["decision"] != entry["label"] for entry in two_runs)
    names = [t for a, t in zip(page.all("th"), page.texts["th"], strict=True)
             if a.get("scope") == "row"]  # fmt: skip
    cells = page.texts["td"][6 * names.index("accuracy") :][:6]
    assert "/runs/a/against/b" == picked.request.path
    assert [f"{1 - wrong / 40:.3f}", "1.000", f"{wrong / 40:.3f}"] == [
        cell[:5] for cell in cells[:3]
    ]
    assert "B is better" == cells[5]
    assert f"only A 0, only B {wrong}" in text


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/runs/?run=a", 200, "Pick two runs to compare, not 1"),
        ("/runs/?run=a&run=b&run=a", 200, "Pick two runs to compare, not 3"),
        ("/runs/a/against/nobody", 404, "there is no run"),
        ("/runs/a/against/a", 400, "a"),
        ("/runs/a/against/b?pair=-7", 200, "Is B better than A?"),
        ("/runs/a/against/b?pair=x", 200, "Is B better than A?"),
    ],
)
def test_what_cannot_be_compared_is_said(
    client: FlaskClient,
    read_page: Read,
    two_runs: list[dict[str, Any]],
    address: str,
    status: int,
    said: str,
) -> None:
    """Another number of runs, an unknown one, a run and itself."""
    response = client.get(address, follow_redirects=True)

    assert status == response.status_code
    assert said in read_page(response).text()


def test_a_pipe_among_predictions_stops_no_comparison(
    client: FlaskClient, two_runs: list[dict[str, Any]], tmp_path: Path
) -> None:
    """It would be read without end."""
    os.mkfifo(tmp_path / "runs/b/predictions/keyword/mine.all/odd.jsonl")

    assert 400 == client.get("/runs/a/against/b").status_code


@pytest.mark.parametrize(
    ("words", "order"),
    [("", ["b", "a"]), ("A keyword", ["a"]), ("mine", ["b", "a"]), ("a nothing", [])],
)
def test_a_table_is_filtered_by_words(
    client: FlaskClient, read_page: Read, make_run: Make, words: str, order: list[str]
) -> None:
    """Each word in some name of the line; sorting keeps them, one link drops them."""
    rows = [row | {"classifier": "keyword", "model": "m"} for row in ROWS]
    rows = [row | {"strategy": f"s-{row['strategy']}"} for row in rows]
    make_run("tried", rows)
    words = words.replace("A", "s-A").replace("a n", "s-a n")

    page = read_page(client.get("/runs/tried", query_string={"filter": words}))

    shown = [t for a, t in zip(page.all("th"), page.texts.get("th", []), strict=True)
             if a.get("scope") == "row"]  # fmt: skip
    assert [f"s-{name}" for name in order] == [name[:3] for name in shown]
    assert bool(words) == ("Show all lines" in page.text())
    sorts = [a["href"] or "" for a in page.all("a") if "sort=" in (a["href"] or "")]
    assert all(("filter=" in link) == bool(words) for link in sorts)
    assert bool(sorts) == bool(order)
