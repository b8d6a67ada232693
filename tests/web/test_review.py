"""Reviewing labels on the page of a sample: by a form, without a script."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.records import Turn, content_hash
from safebench.results.review_marks import REVIEW_FILE, read_marks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

    Read = Callable[..., Any]
    Make = Callable[..., Path]

ROW = {"strategy": "score", "metric": "auroc", "value": 0.7}
PLACE = "keyword/mine.all/score.jsonl"
SAMPLE = f"/runs/tried/sample/{{}}/{PLACE}"
HOSTILE = "<script>alert(1)</script>\u202e"


def content(id_: str) -> str:
    """Return the hash of a sample's text."""
    return content_hash((Turn("user", id_),))


@pytest.fixture
def folder(make_run: Make, client: FlaskClient) -> Path:
    """Write a run with four samples; the second and the fourth are decided wrongly."""
    lines = [
        {
            "id": id_,
            "content": content(id_),
            "dataset": "mine.jsonl",
            "config": None,
            "split": "all",
            "task": "prompt_harm",
            "part": "test",
            "score": 0.4,
            "threshold": 0.5,
            "decision": False,
            "label": label,
        }
        for id_, label in zip("abcd", (False, True, None, True), strict=True)
    ]
    return make_run("tried", [ROW], lines)


def form(id_: str, mark: str, **fields: str) -> dict[str, str]:
    """Return what the form of a sample sends."""
    label = str(id_ in "bd")
    return {"content": content(id_), "label": label, "mark": mark} | fields


def test_a_mark_is_stored_and_the_next_sample_of_the_filter_shown(
    client: FlaskClient, read_page: Read, folder: Path
) -> None:
    """What was chosen (filter, name) goes along; the mark is on both pages."""
    sent = form("b", "wrong", by="anna", note=HOSTILE, show="wrong", next="1")
    answer = client.post(SAMPLE.format(1), data=sent)

    assert 303 == answer.status_code
    address = answer.headers["Location"]
    assert address.startswith("/runs/tried/sample/3/")
    for part in ("show=wrong", "by=anna", "saved=1", "#review"):
        assert part in address
    following = read_page(client.get(address))
    assert "Saved for b" in following.text()
    assert "2 of 2: wrong" in following.text()
    (mark,) = read_marks(folder)
    assert ("b", "wrong", "anna", True) == (
        mark.sample.id, mark.mark, mark.by, mark.label,
    )  # fmt: skip
    page = read_page(client.get(f"{SAMPLE.format(1)}?by=anna"))
    assert "script" not in page.names
    assert "<script>alert(1)</script>U+202E" in page.text()
    checked = [box["value"] for box in page.all("input") if "checked" in box]
    assert ["wrong", "1"] == checked
    listed = read_page(client.get(f"/runs/tried/predictions/{PLACE}"))
    assert 1 == listed.text().count("reviewed: wrong")


def test_the_file_has_no_text_of_a_sample(client: FlaskClient, folder: Path) -> None:
    """A run folder can be shared without its prompts, and so can its marks."""
    client.post(SAMPLE.format(1), data=form("b", "unclear"))

    record = json.loads((folder / REVIEW_FILE).read_text("utf-8"))

    assert {"schema", "dataset", "config", "split", "task", "id", "content",
            "label", "mark", "by", "at", "note"} == record.keys()  # fmt: skip


def test_marks_filter_the_list(
    client: FlaskClient, read_page: Read, folder: Path
) -> None:
    """Reviewed ones, and those that are not, of any filter."""
    client.post(SAMPLE.format(1), data=form("b", "right"))

    def ids(query: str) -> list[str]:
        page = read_page(client.get(f"/runs/tried/predictions/{PLACE}?{query}"))
        heads = zip(page.all("th"), page.texts["th"], strict=True)
        return [t.strip() for attrs, t in heads if attrs.get("scope") == "row"]

    assert ["b"] == ids("marks=reviewed")
    assert ["a", "c", "d"] == ids("marks=open")
    assert ["d"] == ids("marks=open&show=wrong")
    found = client.get(
        "/runs/tried/predictions", query_string={"of": PLACE, "marks": "open"}
    )
    assert "marks=open" in found.headers["Location"]


def test_one_takes_the_own_mark_back(client: FlaskClient, folder: Path) -> None:
    """And that of nobody else."""
    for by in ("anna", "ben"):
        client.post(SAMPLE.format(1), data=form("b", "wrong", by=by))
    client.post(SAMPLE.format(1), data=form("b", "none", by="anna"))

    assert ["ben"] == [mark.by for mark in read_marks(folder)]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mark": "maybe"}, "mark"),
        ({"mark": ""}, "choose what the label is"),
        ({"content": "another"}, "have changed since this page was opened"),
        ({"label": "False"}, "have changed since this page was opened"),
        ({"note": "x" * 501}, "501 characters"),
        ({"by": "x" * 81}, "81 characters"),
    ],
)
def test_what_cannot_be_stored_is_said(
    client: FlaskClient,
    read_page: Read,
    folder: Path,
    fields: dict[str, str],
    says: str,
) -> None:
    """And nothing is stored."""
    answer = client.post(SAMPLE.format(1), data=form("b", "wrong") | fields)

    assert 400 == answer.status_code
    assert says in read_page(answer).text()
    assert not (folder / REVIEW_FILE).exists()


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_no_other_site_can_send_the_form(
    client: FlaskClient, folder: Path, headers: dict[str, str]
) -> None:
    """It has the protection of every form here."""
    answer = client.post(SAMPLE.format(1), data=form("b", "wrong"), headers=headers)

    assert 403 == answer.status_code
    assert not (folder / REVIEW_FILE).exists()


def test_a_sample_without_a_label_has_no_form(
    client: FlaskClient, read_page: Read, folder: Path
) -> None:
    """There is nothing to review, and a form sent anyway is refused."""
    page = read_page(client.get(SAMPLE.format(2)))

    assert "no label for this sample" in page.text()
    assert not page.all("form")
    sent = form("c", "wrong") | {"label": "None"}
    assert 400 == client.post(SAMPLE.format(2), data=sent).status_code


def test_a_folder_that_cannot_be_written_says_so(
    client: FlaskClient,
    read_page: Read,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the page, and if it became so since: the mark is not taken for stored."""

    def refuse(*_: Any) -> None:
        raise PermissionError(30, "Read-only file system", str(folder / REVIEW_FILE))

    monkeypatch.setattr("safebench.results.review_marks.write_lines", refuse)
    answer = client.post(SAMPLE.format(1), data=form("b", "wrong"))
    assert 400 == answer.status_code
    assert "is not stored" in read_page(answer).text()
    assert "read-only file system" in read_page(answer).text()

    monkeypatch.setattr("safebench.web.review.os.access", lambda *_: False)
    page = read_page(client.get(SAMPLE.format(1)))
    assert "cannot be written to" in page.text()
    assert not page.all("form")


def test_damaged_marks_hide_no_prediction(
    client: FlaskClient, read_page: Read, folder: Path
) -> None:
    """The page says which line is wrong, and takes no more marks."""
    (folder / REVIEW_FILE).write_text("{}\n", "utf-8")

    page = read_page(client.get(SAMPLE.format(1)))
    answer = client.post(SAMPLE.format(1), data=form("b", "wrong"))

    assert f"{REVIEW_FILE}:1 is no mark" in page.text()
    assert 400 == answer.status_code
    assert 200 == client.get(f"/runs/tried/predictions/{PLACE}").status_code
    assert "{}\n" == (folder / REVIEW_FILE).read_text("utf-8")
