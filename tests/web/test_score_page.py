"""The front page: a form without scripts, and results for whatever it sends."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING

import pytest

from safebench.pipeline.config import ComponentRef
from safebench.plugins import Plugins
from safebench.specs import ClassifierSpec
from safebench.training.artifact import Artifact
from safebench.web import state as state_module
from safebench.web.app import create_app
from safebench.web.score_page import EXAMPLES, MAX_CHARACTERS, MAX_FORM_BYTES
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from flask.testing import FlaskClient

    Read = Callable[..., Any]

KEYWORD = {"classifier": "keyword"}


@pytest.mark.slow
def test_the_form_works_without_scripts(client: FlaskClient, read_page: Read) -> None:
    """One posted form; its first text area is the prompt; every field has a label."""
    page = read_page(client.get("/"))

    (form,) = page.all("form")
    assert "post" == form["method"]
    assert "prompt" == page.all("textarea")[0]["name"]
    fields = page.all("textarea") + page.all("select")
    labels = {label["for"] for label in page.all("label")}
    assert {field["id"] for field in fields} == labels
    assert "script" not in page.names


@pytest.mark.slow
def test_examples_fill_an_empty_form(client: FlaskClient, read_page: Read) -> None:
    """They are links, which a keyboard reaches; a form in use shows none."""
    page = read_page(client.get("/"))
    filled = [
        read_page(client.get(str(link["href"])))
        for link in page.all("a")
        if "?prompt=" in str(link["href"])
    ]

    assert [
        [example.fields["prompt"], example.fields.get("response", "")]
        for example in EXAMPLES
    ] == [page.text_areas for page in filled]
    for other in (*filled, read_page(client.post("/", data={"prompt": " "}))):
        assert not any("?prompt=" in str(link["href"]) for link in other.all("a"))


@pytest.mark.slow
def test_the_page_says_that_a_model_is_being_loaded(
    odd_guards: Plugins, read_page: Read
) -> None:
    """Until it is loaded; it is loaded once, however early the first request comes."""
    state = AppState(
        plugins=odd_guards, classifiers=(ComponentRef("counted", "counted"),)
    )
    client = create_app(state).test_client()
    guard = odd_guards.get(ClassifierSpec, "counted").code()
    loads = guard.loads

    with state.service._lock:  # so that it does not get ready
        state.start_loading()
        early = read_page(client.get("/"))
    answered = client.post("/", data={"prompt": "hello"})
    assert state._loading is not None
    state._loading.join()
    late = read_page(client.get("/"))

    notice = "counted is being loaded; its first answer waits for that."
    assert notice in early.text()
    assert 200 == answered.status_code
    assert notice not in late.text()
    assert 1 == guard.loads - loads


def test_the_first_page_does_not_wait_for_the_libraries_of_all(
    odd_guards: Plugins, read_page: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classifiers that nobody named are looked at beside it; a form waits for that."""
    state = AppState(
        plugins=odd_guards, classifiers=(ComponentRef("counted", "counted"),)
    )
    client, looked = create_app(state).test_client(), Event()

    def reason(_: Plugins, ref: ComponentRef) -> str:
        looked.wait(240)
        return f"{ref.name} needs time"

    monkeypatch.setattr(state_module, "unavailable_reason", reason)
    state.start_loading()
    early = read_page(client.get("/"))
    names = {choice.label for choice in state.choices[1:]}
    looked.set()
    other = min(names)
    answered = client.post("/", data={"prompt": "hello", "classifier": other})
    assert state._loading is not None
    state._loading.join()
    late = read_page(client.get("/"))

    assert names
    assert "(needs options)" not in early.text()
    assert 400 == answered.status_code
    assert f"{other} cannot be asked: {other} needs time" in answered.text
    assert len(names) == late.text().count("(needs options)")


@pytest.mark.slow
def test_a_prompt_alone_is_judged_by_the_default(
    client: FlaskClient, read_page: Read
) -> None:
    """With no other field at all: default classifier and strategy, the prompt again."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")

    response = client.post("/", data={"prompt": "how do I build a bomb?"})

    page = read_page(response)
    assert 200 == response.status_code
    assert "how do I build a bomb?" == page.text_areas[0]
    assert page.text("h2") in ("safe", "unsafe")
    assert "llamaguard read by marginal_any" in page.text()
    assert "probability of unsafe" in page.text()


@pytest.mark.slow
def test_the_verdict_tree_is_shown(client: FlaskClient, read_page: Read) -> None:
    """Branches with their tokens and masses, and how much was left open."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")

    page = read_page(client.post("/", data={"prompt": "how do I build a bomb?"}))

    assert any("tree" == attrs.get("class") for attrs in page.all("ol"))
    codes = page.texts["code"]
    assert {"safe", "unsafe"} <= set(codes)
    assert "nodes were explored" in page.text()
    assert "Non-Violent Crimes" in page.text()


@pytest.mark.slow
def test_a_word_gives_one_half(client: FlaskClient, read_page: Read) -> None:
    """The answer of the keyword guard, its number, and the fields as they were set."""
    page = read_page(client.post("/", data=KEYWORD | {"prompt": "attack"}))

    assert "unsafe" == page.text("h2")
    assert "0.5 score" in page.text()
    (chosen,) = [o for o in page.all("option") if "selected" in o]
    assert "keyword" == chosen["value"]
    (mark,) = [s for s in page.all("svg") if s.get("x")]
    assert "50.0%" == mark["x"]


@pytest.mark.slow
def test_a_response_is_what_is_judged(client: FlaskClient, read_page: Read) -> None:
    """A harmless response to an alarming prompt is safe; a blank one is none."""
    fields = KEYWORD | {"prompt": "attack"}

    answered = read_page(client.post("/", data=fields | {"response": "No."}))
    blank = read_page(client.post("/", data=fields | {"response": " \r\n"}))

    assert ["safe", "unsafe"] == [answered.text("h2"), blank.text("h2")]
    assert "judging the response" in answered.text()
    assert ["attack", "No."] == answered.text_areas


@pytest.mark.slow
def test_a_cost_is_drawn_around_zero(client: FlaskClient, read_page: Read) -> None:
    """Cost 0.5 is on the unsafe side; no strategy that fails hides the answer."""
    page = read_page(
        client.post("/", data={"prompt": "bad bad", "classifier": "priced"})
    )

    assert "unsafe" == page.text("h2")
    assert "0.5 cost" in page.text()
    assert "unsafe from 0" in page.text()
    (mark,) = [s for s in page.all("svg") if s.get("x")]
    assert 50 < float((mark["x"] or "").rstrip("%")) < 75
    assert "too long: 7 tokens were cut from the left" in page.text()
    assert "impossible" not in page.text("table")


@pytest.mark.slow
def test_a_failed_judgement_is_no_verdict(client: FlaskClient, read_page: Read) -> None:
    """Neither safe nor unsafe is claimed, and the reason is told."""
    page = read_page(client.post("/", data={"prompt": "x", "classifier": "mute"}))

    assert "no verdict" == page.text("h2")
    assert "no words" in page.text()


@pytest.mark.slow
def test_a_strategy_can_be_chosen(client: FlaskClient, read_page: Read) -> None:
    """The one that was picked answers, the others are listed below."""
    pytest.importorskip("safebench_llamaguard_marginal", reason="another plugin")
    fields = {"prompt": "x", "classifier": "llamaguard", "strategy": "greedy"}

    page = read_page(client.post("/", data=fields))

    assert "llamaguard read by greedy" in page.text()
    assert "marginal_any" in page.texts["table"][-1]
    (_, strategy) = [o for o in page.all("option") if "selected" in o]
    assert {"selected": None} == strategy


@pytest.mark.slow
def test_a_link_can_fill_the_form(client: FlaskClient, read_page: Read) -> None:
    """Fields in the address are put in; nothing is judged until the form is sent."""
    page = read_page(client.get("/?prompt=a%26b&response=c&classifier=keyword"))

    assert ["a&b", "c"] == page.text_areas
    assert "h2" not in page.names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "there is no prompt to judge"),
        ({"prompt": " \n\t"}, "there is no prompt to judge"),
        ({"response": "only"}, "there is no prompt to judge"),
        ({"prompt": "x", "classifier": "keywrd"}, "did you mean 'keyword'?"),
        ({"prompt": "x", "strategy": "scor"}, "did you mean 'score'?"),
        ({"prompt": "x", "strategy": "all"}, "unknown strategy 'all'"),
        (
            {"prompt": "x", "classifier": "keyword", "strategy": "raw_cost"},
            "strategies for keyword: score",
        ),
        ({"prompt": "x", "classifier": "needy"}, "needy cannot be asked"),
        ({"prompt": "x", "classifier": "listener"}, "listener judges responses"),
        ({"prompt": "x", "classifier": "liar"}, "broke its contract"),
    ],
)
def test_a_mistake_is_answered_above_the_form(
    client: FlaskClient, read_page: Read, fields: dict[str, str], message: str
) -> None:
    """Status 400, an alert, and what was typed is still there."""
    response = client.post("/", data=fields)

    page = read_page(response)
    assert 400 == response.status_code
    assert message in page.text()
    assert any("alert" == p.get("role") for p in page.all("p"))
    assert fields.get("prompt", "") == page.text_areas[0]


@pytest.mark.slow
@pytest.mark.parametrize("letter", ["a", "é", "\u202e"])
def test_a_text_at_the_limit_is_judged(
    client: FlaskClient, read_page: Read, letter: str
) -> None:
    """As many characters as the page takes fit, whatever they are."""
    text = letter * MAX_CHARACTERS

    response = client.post("/", data=KEYWORD | {"prompt": text})

    assert 200 == response.status_code
    assert text == read_page(response).text_areas[0]


@pytest.mark.slow
def test_a_text_over_the_limit_is_refused_with_numbers(
    client: FlaskClient, read_page: Read
) -> None:
    """A million characters: 413, how many there are, how many may be, and a way out."""
    response = client.post("/", data=KEYWORD | {"prompt": "word " * 200_000})

    page = read_page(response)
    assert 413 == response.status_code
    assert "1,000,000 characters" in page.text()
    assert "250,000" in page.text()
    assert "safebench score -" in page.text()


@pytest.mark.parametrize(
    ("content_type", "start"),
    [
        ("application/x-www-form-urlencoded", b"prompt="),
        (
            "multipart/form-data; boundary=cut",
            b'--cut\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n',
        ),
    ],
)
def test_a_form_that_is_too_large_is_a_page_of_its_own(
    client: FlaskClient, read_page: Read, content_type: str, start: bytes
) -> None:
    """413 with a message, and the form is one link away."""
    body = start + b"a" * MAX_FORM_BYTES

    response = client.post("/", data=body, content_type=content_type)

    assert 413 == response.status_code
    assert "4 MiB" in read_page(response).text()


def test_other_methods_and_places_are_pages_too(
    client: FlaskClient, read_page: Read
) -> None:
    """405 and 404 say what is wrong, in the page's own clothes."""
    wrong, nowhere = client.put("/"), client.get("/nowhere")

    assert [405, 404] == [wrong.status_code, nowhere.status_code]
    assert "does not take that kind" in read_page(wrong).text()
    assert "There is no such page" in read_page(nowhere).text()


@pytest.mark.slow
def test_a_bug_in_a_guard_stays_inside(client: FlaskClient, read_page: Read) -> None:
    """500 without the exception's words: those are for whoever runs the server."""
    response = client.post("/", data={"prompt": "x", "classifier": "bursting"})

    assert 500 == response.status_code
    assert "Something broke" in read_page(response).text()
    assert b"secret" not in response.data


@pytest.mark.slow
def test_models_trained_here_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instead of an entry that needs a model; what is not done or not read is not."""
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "mine": {"kind": "tfidf", "status": "done"},
        "other": {"kind": "no_such_kind", "status": "done"},
        "half": {"kind": "tfidf", "status": "training"},
    }.items():
        (tmp_path / "models" / name).mkdir(parents=True)
        Artifact(tmp_path / "models" / name).write(content)
    (tmp_path / "models" / "damaged").mkdir()
    (tmp_path / "models" / "damaged" / Artifact.MANIFEST).write_text("[", "utf-8")
    monkeypatch.setattr(
        state_module,
        "unavailable_reason",
        lambda _, ref: "" if ref.options else "needs a model",
    )

    choices = state_module.classifier_choices(Plugins(), ())

    by_label = {choice.label: choice.ref for choice in choices}
    assert {"model": "models/mine"} == by_label["tfidf (models/mine)"].options
    assert {"tfidf (models/mine)", "tfidf"} & by_label.keys() == {"tfidf (models/mine)"}
    assert not any("half" in label or "no_such" in label for label in by_label)
    assert "frozen_encoder" in by_label  # no model of it: its obstacle is shown
