"""Runs on the page: a list, tables that sort by link, predictions one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from safebench.web.app import create_app
from safebench.web.runs_page import PER_PAGE, find_runs
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
        if "predictions" in (a["href"] or "")
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
