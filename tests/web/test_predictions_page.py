"""Predictions with their prompts: filters, orders, search, texts read back, samples."""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.records import Turn, content_hash
from safebench.web.app import create_app
from safebench.web.prediction_index import FILTERS, matching_rows, read_index
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

    from safebench.plugins import Plugins

    Read = Callable[..., Any]
    Make = Callable[..., Path]

ROW = {"strategy": "score", "metric": "auroc", "value": 0.7}
PLACE = "keyword/mine.all/score.jsonl"
PAGE = f"/runs/tried/predictions/{PLACE}"
HOSTILE = "<script>alert(1)</script>\u202e \x1b[31m how to attack"
TEXTS = {"a": "How to attack a castle?", "b": HOSTILE, "c": "A harmless CAKE"}


def line(id_: str, **values: Any) -> dict[str, Any]:
    """Return a prediction about a text of `TEXTS`, decided rightly."""
    text = TEXTS.get(id_, id_)
    fields = {
        "id": id_,
        "content": content_hash((Turn("user", text),)),
        "dataset": "mine.jsonl",
        "split": "all",
        "task": "prompt_harm",
        "part": "test",
        "score": 0.5,
        "threshold": 0.5,
        "decision": True,
        "label": True,
        "uncertainty": None,
        "error": None,
        "raw": None,
    }
    return fields | values


@pytest.fixture
def with_data(make_run: Make, client: FlaskClient) -> Path:
    """Write a run on a file that is at hand; return the file."""
    folder = make_run("tried", [ROW], [line(id_, label=False) for id_ in "abc"])
    file = folder.parent.parent / "mine.jsonl"
    rows = [{"id": i, "prompt": text, "label": 0} for i, text in TEXTS.items()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "config.yaml").write_text("datasets:\n- mine.jsonl\n", "utf-8")
    return file


def ids_of(page: Any) -> list[str]:
    """Return the ids that a page of predictions shows, in its order."""
    heads = zip(page.all("th"), page.texts["th"], strict=True)
    return [text.strip() for attrs, text in heads if attrs.get("scope") == "row"]


def drawn(x: dict[str, Any]) -> str:
    """Return what orders a line where nothing of it may."""
    return hashlib.sha256(f"review:{x['content']}:{x['id']}".encode()).hexdigest()


def brute_force(lines: list[dict[str, Any]], show: str) -> list[str]:
    """Return the ids to show, by sorting all lines in plain Python."""
    wrong = [
        x
        for x in lines
        if None not in (x["decision"], x["label"]) and x["decision"] != x["label"]
    ]
    chosen = {
        "all": lines,
        "wrong": wrong,
        "failed": [x for x in lines if x["error"] is not None],
        "false-negatives": sorted(
            (x for x in wrong if x["label"]), key=lambda x: x["score"]
        ),
        "false-positives": sorted(
            (x for x in wrong if not x["label"]), key=lambda x: -x["score"]
        ),
        "least-sure": sorted(
            (x for x in lines if x["uncertainty"] is not None),
            key=lambda x: -x["uncertainty"],
        ),
        "random": sorted(lines, key=drawn),
    }
    return [x["id"] for x in chosen[show]]


@pytest.mark.parametrize("show", FILTERS)
def test_filters_and_orders_are_those_of_plain_python(
    client: FlaskClient, read_page: Read, make_run: Make, show: str
) -> None:
    """Of 60 lines with ties and gaps; the worst first, equal ones as stored."""
    draw = random.Random(7)
    lines = [
        line(
            f"x-{i}",
            score=draw.choice([0.1, 0.3, 0.5, 0.9]),
            decision=draw.choice([True, False, None]),
            label=draw.choice([True, False, None]),
            uncertainty=draw.choice([None, 0.2, 0.4, 0.6]),
            error=draw.choice([None, None, "no level"]),
        )
        for i in range(60)
    ]
    make_run("tried", [ROW], lines)

    shown = ids_of(read_page(client.get(f"{PAGE}?show={show}")))

    assert brute_force(lines, show) == shown
    assert 3 < len(shown)


def test_without_uncertainty_the_threshold_says_who_is_least_sure(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """The nearest to it first; one without a score is not among them."""
    scores = {"far": 0.9, "near": 0.52, "lost": None, "below": 0.4}
    make_run("tried", [ROW], [line(i, score=s) for i, s in scores.items()])

    page = read_page(client.get(f"{PAGE}?show=least-sure"))

    assert ["near", "below", "far"] == ids_of(page)


def test_a_run_leads_to_its_worst_false_negatives(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """By one link of its page: three samples, the lowest score first."""
    lines = [line(f"x-{i}", decision=False, score=i / 10) for i in (3, 1, 2)]
    make_run("tried", [ROW], [*lines, line("right")])

    run = read_page(client.get("/runs/tried"))
    links = [a["href"] for a in run.all("a") if "false-neg" in (a["href"] or "")]

    assert ["x-1", "x-2", "x-3"] == ids_of(read_page(client.get(links[0])))


def test_prompts_are_read_back_and_collapsed(
    client: FlaskClient, read_page: Read, with_data: Path
) -> None:
    """A warning stands before them; one link opens all; hostile ones stay text."""
    closed, opened = (
        read_page(client.get(f"{PAGE}{query}")) for query in ("", "?texts=shown")
    )

    assert 3 == len(closed.all("details")) == len(opened.all("details"))
    assert not any("open" in attrs for attrs in closed.all("details"))
    assert all("open" in attrs for attrs in opened.all("details"))
    for page in (closed, opened):
        assert page.markup.index("harmful or upsetting") < page.markup.index("castle")
        assert "script" not in page.names
        assert "<script>alert(1)</script>U+202E" in page.text()
        assert not {"\u202e", "\x1b"} & set(page.markup)


@pytest.mark.parametrize(
    ("words", "ids"),
    [("ATTACK", ["a", "b"]), ("cake", ["c"]), ("c", ["a", "b", "c"]), ("none", [])],
)
def test_words_are_searched_in_ids_and_texts(
    client: FlaskClient,
    read_page: Read,
    with_data: Path,
    words: str,
    ids: list[str],
) -> None:
    """Whatever their case; the form leads to the same page, with the file chosen."""
    found = client.get(
        "/runs/tried/predictions",
        query_string={"of": PLACE, "q": words, "show": "all"},
        follow_redirects=True,
    )

    page = read_page(found)
    assert ids == (ids_of(page) if ids else page.all("table"))
    assert words in [attrs.get("value") for attrs in page.all("input")]


def test_changed_texts_are_not_shown_for_others(
    client: FlaskClient, read_page: Read, with_data: Path
) -> None:
    """A row of the same id with another text is not what the guard judged."""
    text = with_data.read_text("utf-8").replace("castle", "sandcastle")
    with_data.write_text(text, "utf-8")

    page = read_page(client.get(f"{PAGE}?texts=shown"))

    assert "sandcastle" not in page.text()
    assert "1 of 3 prompts of this page are not at hand" in page.text()


def test_a_missing_data_set_is_named_with_what_attaches_it(
    client: FlaskClient, read_page: Read, with_data: Path
) -> None:
    """The page shows all else, in the list and of one sample."""
    with_data.unlink()

    for address in (PAGE, f"/runs/tried/sample/0/{PLACE}"):
        response = client.get(address)

        assert 200 == response.status_code
        text = read_page(response).text()
        assert "mine.jsonl could not be read again" in text
        assert "--data-root DIR" in text


def test_hub_sets_are_read_below_the_data_root(
    odd_guards: Plugins, make_run: Make, read_page: Read, tmp_path: Path
) -> None:
    """`serve --data-root` says where, whatever the run was given."""
    folder = make_run("tried", [ROW], [line("x")])
    (folder / "config.yaml").write_text(
        "datasets:\n- xstest\ndata_root: /nowhere\n", "utf-8"
    )
    found = [
        AppState(
            plugins=odd_guards, runs=(str(folder),), data_root=root
        ).sample_texts.of_run(folder)
        for root in (None, str(tmp_path))
    ]

    assert ["/nowhere", str(tmp_path)] == [
        next(part for part in ("/nowhere", str(tmp_path)) if part in str(texts.notes))
        for texts in found
    ]


def test_a_sample_has_the_scores_of_all_strategies(
    client: FlaskClient, read_page: Read, with_data: Path
) -> None:
    """In files of any order; a sample of the same id and another text is another."""
    folder = (
        with_data.parent / "runs" / "tried" / "predictions" / "keyword" / "mine.all"
    )
    others = {
        "later.jsonl": [line("c", score=0.125), line("a", score=0.75)],
        "other.jsonl": [line("a", content=content_hash((Turn("user", "else"),)))],
        "other-task.jsonl": [line("a", task="response_harm")],
    }
    for name, lines in others.items():
        text = "".join(json.dumps(x) + "\n" for x in lines)
        (folder / name).write_text(text, "utf-8")

    page = read_page(client.get(f"/runs/tried/sample/0/{PLACE}"))

    assert "How to attack a castle?" in page.text()
    assert ["keyword/mine.all/later", "keyword/mine.all/score"] == ids_of(page)
    assert "0.75" in page.text("tbody")
    assert "other" not in page.text("tbody")


@pytest.mark.parametrize(
    "address",
    [
        f"/runs/tried/sample/3/{PLACE}",
        f"/runs/tried/sample/-1/{PLACE}",
        "/runs/tried/sample/0/../../config.yaml",
        "/runs/tried/predictions?of=../config.yaml",
        "/runs/tried/predictions",
    ],
)
def test_what_there_is_not_is_not_found(
    client: FlaskClient, with_data: Path, address: str
) -> None:
    """No address leads to another file or behind the end of one."""
    assert 404 == client.get(address).status_code


@pytest.mark.slow
def test_a_hundred_thousand_predictions_stay_usable(
    client: FlaskClient, read_page: Read, make_run: Make
) -> None:
    """Pages of a file that was read once come in a fraction of a second."""
    one = line("x", decision=False)
    lines = [one | {"id": f"x-{i}", "score": i / 1e5} for i in range(100_000)]
    folder = make_run("tried", [ROW], lines)
    index = read_index(folder / "predictions" / PLACE)
    assert index.n == len(matching_rows(index, "wrong", None))
    client.get(PAGE)

    start = time.process_time()  # a busy machine costs no time of this process
    page = read_page(client.get(f"{PAGE}?show=false-negatives&page=500"))
    seconds = time.process_time() - start

    assert [f"x-{i}" for i in range(49_900, 50_000)] == ids_of(page)
    assert seconds < 2


@pytest.mark.slow
def test_a_sample_shows_the_tree_that_its_run_stored(
    odd_guards: Plugins,
    read_page: Read,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it marks as written is what the run says that the guard wrote.

    Tokens are numbers until the guard was loaded, and the page says so.
    """
    monkeypatch.chdir(tmp_path)
    command = ["run", "-c", "llamaguard", "-s", "joint", "-d", "starter", "--limit",
               "3", "--out", "runs/tried"]  # fmt: skip
    result = CliRunner().invoke(cli, command, obj=odd_guards)
    assert 0 == result.exit_code, result.output
    state = AppState(plugins=odd_guards)
    client = create_app(state).test_client()
    place = "llamaguard/starter.all/joint.jsonl"
    stored = (tmp_path / "runs/tried/predictions" / place).read_text("utf-8")
    raw = [json.loads(text)["raw"] for text in stored.splitlines()]

    def written(row: int) -> str:
        address = f"/runs/tried/sample/{row}/{place}"
        markup = client.get(address).get_data(as_text=True)
        marked = re.findall(r'class="d\d+ greedy">(.*?)</li>', markup, re.DOTALL)
        tokens = [t for part in marked for t in re.findall(r"<code>(.*?)</code>", part)]
        return "".join(tokens).replace("↵", "\n").replace("␣", " ")

    assert re.fullmatch(r"(#\d+)+", written(0))
    note = read_page(client.get(f"/runs/tried/sample/0/{place}")).text()
    assert "llamaguard is not loaded" in note
    client.post("/", data={"prompt": "x", "classifier": "llamaguard"})
    assert raw == [written(row) for row in range(len(raw))]
