"""Services behind any-guardrail, with the real package and a server on this machine."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import ModelError
from safebench.evidence import Scores
from safebench.plugins import Plugins
from safebench.records import Sample, Turn
from safebench.results import read_rows
from safebench.services.requests import run_with_deadline

pytest.importorskip("any_guardrail", reason="any-guardrail, an extra, is not installed")

from safebench_any_guardrail.adapter import AnyGuardrailClassifier
from safebench_any_guardrail.guard_options import GuardOptions

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.classifiers import Recording

FAST = {"backoff": 0.001, "retries": 2, "timeout": 240.0}


def prompt(text: str, task: str = "prompt_harm") -> Sample:
    """Return a prompt to judge."""
    return Sample(id=text, turns=(Turn("user", text),), task=task)


def response(text: str, before: str, task: str = "response_harm") -> Sample:
    """Return a response to judge."""
    turns = (Turn("user", before), Turn("assistant", text))
    return Sample(id=text, turns=turns, task=task)


def classifier(**options: Any) -> AnyGuardrailClassifier:
    """Return a guard, asked for with these options."""
    return AnyGuardrailClassifier(GuardOptions(**FAST | options))


def record(model: AnyGuardrailClassifier, *samples: Sample) -> Recording:
    """Record evidence of some samples."""
    return model.record(list(samples), frozenset({Scores}), lambda _: None)


def errors(recording: Recording) -> list[str | None]:
    """Return the failures by sample."""
    return [trace.error for trace in recording.traces]


openai = pytest.mark.usefixtures("_openai")


@pytest.fixture
def _openai() -> None:
    pytest.importorskip("openai", reason="the client of OpenAI is not installed")


@openai
def test_openai_moderation_gives_all_scores(service: Any) -> None:
    """The largest score, 13 categories under the policy's codes, and the verdict."""
    texts = [f"text {i}" + " bad" * (i % 3 == 0) for i in range(9)]
    service.delay = 0.01

    recording = record(
        classifier(guard="openai_moderation"), *[prompt(text) for text in texts]
    )

    scores = recording.evidence[Scores]
    codes = scores.meta["categories"]
    # each once: the client names some of them twice
    assert sorted(["score", *service.categories]) == sorted(scores.meta["labels"])
    assert {*service.categories} == {*codes.values()}
    for row, flagged, text in zip(
        scores["values"], scores["flagged"], texts, strict=True
    ):
        named = dict(zip(scores.meta["labels"], row, strict=True))
        assert max(service.scores_of(text).values()) == pytest.approx(named["score"])
        for name, code in codes.items():
            assert service.scores_of(text)[code] == pytest.approx(named[name])
        assert ("bad" in text) == flagged
    assert 1 < service.most_at_once <= 4


@openai
def test_the_library_client_does_not_retry_by_itself(service: Any) -> None:
    """Each attempt is counted, since each may be paid for."""
    model = classifier(guard="openai_moderation")
    service.fail(429, times=2)

    recording = record(model, prompt("a"))

    assert [None] == errors(recording)
    assert 3.0 == recording.traces[0].forward_passes
    assert len(service.requests) == model.state["requests"] == 4


@openai
def test_an_answer_without_a_category_is_no_harmless_one(service: Any) -> None:
    """The library would take the largest of the others."""
    model = classifier(guard="openai_moderation")
    spoilt = service.result("a")
    del spoilt["category_scores"]["violence"]
    service.reply({"model": service.model, "results": [spoilt]}, times=2)

    failed = errors(record(model, prompt("a")))

    assert ["malformed answer: the answer lacks violence"] == failed
    del spoilt["category_scores"]["self-harm/intent"]
    service.reply({"model": service.model, "results": [spoilt]}, times=2)
    assert "self-harm/intent" in str(errors(record(model, prompt("a"))))


@openai
def test_a_run_from_end_to_end(service: Any, tmp_path: Path, data: Path) -> None:
    """Verdicts, categories and the model that answered; the key is stored nowhere."""
    out = tmp_path / "run"
    service.fail(503)

    result = CliRunner().invoke(
        cli,
        ["run", "-c", "any_guardrail,guard=openai_moderation,backoff=0.001,threshold=1",
         "-d", str(data), "--out", str(out)],
        obj=Plugins(),
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    lines = next((out / "predictions").rglob("*.jsonl")).read_text().splitlines()
    decisions = [json.loads(line)["decision"] for line in lines]
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    assert [float("bad" in row["prompt"]) for row in rows] == decisions
    (row,) = [r for r in read_rows(out / "results.jsonl") if r.metric == "auroc"]
    assert "openai-moderation-13" == row.policy
    manifest = json.loads((out / "manifest.json").read_text())
    (model,) = manifest["models"].values()
    assert service.model == model["facts"]["served_model"]
    for path in filter(lambda p: p.is_file(), out.rglob("*")):
        assert service.key.encode() not in path.read_bytes(), path
    assert service.key not in result.output


@openai
def test_another_model_under_the_same_name_ends_the_run(service: Any) -> None:
    """Answers of two models are never mixed."""
    model = classifier(guard="openai_moderation")
    service.model = "omni-moderation-2027-01-01"

    with pytest.raises(ModelError, match="now from omni-moderation-2027-01-01"):
        record(model, prompt("a"))


@pytest.mark.slow
@openai
def test_any_llm_judges_by_a_policy_of_the_user(service: Any) -> None:
    """The risk that the model writes is the score; what is no answer fails."""

    def chat(path: str, body: Any) -> Any:
        text = body["messages"][-1]["content"]
        risk = 0.9 if "bad" in text else 0.1
        verdict = {"valid": risk < 0.5, "explanation": f"on {text}", "risk_score": risk}
        content = "I refuse" if "odd" in text else json.dumps(verdict)
        message = {"role": "assistant", "content": content}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "judge-2026-01-01",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }

    service.answer = chat
    model = classifier(
        guard="any_llm", task="injection", guard_policy="No spells.", model="openai:j"
    )

    recording = record(
        model, *[prompt(text, "injection") for text in ("a", "bad", "odd")]
    )

    scores = recording.evidence[Scores]
    assert [0.1, 0.9] == pytest.approx(scores["values"][:2, 0].tolist())
    assert [False, True] == scores["flagged"][:2].tolist()
    assert "score" == scores.meta["scale"]
    assert "judge-2026-01-01" == model.facts["served_model"]
    assert "on bad" == recording.traces[1].raw
    assert "I refuse" in str(recording.traces[2].error)
    assert "No spells." in json.dumps(service.requests[-1][1])


def lakera(_: str, body: Any) -> Any:
    """Return an answer of Lakera in the form of its documentation."""
    detected = "bad" in body["messages"][-1]["content"]
    level = "l2_very_likely" if detected else "l5_unlikely"
    entry = {"detector_type": "prompt_attack", "detected": detected, "result": level}
    return {"flagged": detected, "breakdown": [entry], "payload": []}


def alinia(_: str, body: Any) -> Any:
    """Return an answer of Alinia."""
    text = json.dumps(body)
    value = 0.75 if "bad" in text else 0.25
    details = {"safety": {"hate": value, "self_harm": 0.125}}
    return {"result": {"flagged": value > 0.5, "category_details": details}}


def patronus(_: str, body: Any) -> Any:
    """Return an answer of Patronus: its own score is higher for better."""
    quality = 0.125 if "bad" in json.dumps(body) else 0.875
    evaluation = {"pass": quality > 0.5, "score_raw": quality}
    return {"results": [{"criteria": "toxicity", "evaluation_result": evaluation}]}


SERVICES = {
    "lakera_guard": (lakera, "LAKERA_API_KEY", {}, "injection", (0.0, 0.8)),
    "alinia": (
        alinia,
        "ALINIA_API_KEY",
        {"detection_config": '{"safety": true}'},
        "prompt_harm",
        (0.25, 0.75),
    ),
    "patronus": (
        patronus,
        "PATRONUS_API_KEY",
        {"evaluators": "[{evaluator: toxicity}]", "task": "prompt_harm"},
        "prompt_harm",
        (0.125, 0.875),
    ),
}


@pytest.fixture
def hosted(request: Any, service: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a service that answers as one of `SERVICES`, its task and values."""
    answer, variable, options, task, values = SERVICES[request.param]
    monkeypatch.setenv(variable, service.key)
    service.answer = answer
    options = options | {"guard": request.param, "endpoint": f"{service.address}/x"}
    return service, options, task, values


every_service = pytest.mark.parametrize("hosted", SERVICES, indirect=True)


@every_service
def test_scores_are_higher_for_worse(hosted: Any) -> None:
    """Whatever the service's own direction is; the verdict is the service's."""
    _, options, task, (low, high) = hosted

    recording = record(classifier(**options), prompt("good", task), prompt("bad", task))

    scores = recording.evidence[Scores]
    column = scores.meta["labels"].index(scores.meta["tasks"][task])
    assert [low, high] == pytest.approx(scores["values"][:, column].tolist())
    assert [False, True] == scores["flagged"].tolist()
    assert [None, None] == errors(recording)


@every_service
def test_errors_of_libraries_without_a_class_for_them(hosted: Any) -> None:
    """The status is read from the text; the key that the service quotes is hidden."""
    service, options, task, _ = hosted
    model = classifier(**options)
    service.fail(429)
    service.fail(500)
    assert [None] == errors(record(model, prompt("a", task)))
    service.fail(400)
    refused = errors(record(model, prompt("a", task)))
    service.fail(401)
    with pytest.raises(ModelError, match="does not accept the key") as caught:
        record(model, prompt("a", task))

    assert "HTTP 400" in str(refused[0])
    assert service.key not in f"{refused[0]} {caught.value}"


@every_service
def test_an_answer_without_a_verdict_is_no_harmless_one(hosted: Any) -> None:
    """An empty object: two of three libraries' guards would report valid."""
    service, options, task, _ = hosted
    model = classifier(**options)
    service.reply({}, times=3)

    recording = record(model, prompt("a", task))

    assert errors(recording)[0]
    assert len(service.requests) <= 3


@every_service
def test_a_service_that_never_answers_is_given_up(hosted: Any) -> None:
    """These guards wait for ever by themselves."""
    service, options, task, _ = hosted
    model = classifier(**options | {"timeout": 0.1, "retries": 0})
    service.delay = 0.5

    recording = record(model, prompt("a", task))

    assert "no answer within 0.1 s" in str(errors(recording)[0])


def test_responses_are_sent_with_their_prompts(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guard of pairs gets both; one without a prompt before it fails."""
    monkeypatch.setenv("ALINIA_API_KEY", service.key)
    service.answer = alinia
    model = classifier(
        guard="alinia", endpoint=f"{service.address}/x", detection_config="{a: true}"
    )
    alone = Sample(id="x", turns=(Turn("assistant", "hi"),), task="response_harm")

    recording = record(model, response("sure", "how?"), alone)

    body = service.requests[-1][1]
    assert ("how?", "sure") == (body["input"], body["output"])
    assert "without the prompt" in str(errors(recording)[1])


def test_a_task_that_the_guard_does_not_answer_is_refused(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lakera finds injections; harm is no task of its verdict."""
    monkeypatch.setenv("LAKERA_API_KEY", service.key)
    service.answer = lakera
    model = classifier(guard="lakera_guard", endpoint=f"{service.address}/x")

    with pytest.raises(
        ModelError, match="answers injection, jailbreak, not prompt_harm"
    ):
        record(model, prompt("a"))


def test_a_deadline_returns_what_comes_in_time() -> None:
    """Values and exceptions pass; what takes longer is a TimeoutError."""
    assert 7 == run_with_deadline(lambda: 7, 5)
    with pytest.raises(KeyError):
        run_with_deadline(lambda: {}["x"], 5)
    given_up = threading.Event()
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        run_with_deadline(lambda: given_up.wait(240), 0.01)
    given_up.set()


def test_values_are_in_the_order_of_the_samples(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where later questions are answered first."""
    monkeypatch.setenv("LAKERA_API_KEY", service.key)
    service.answer = lakera
    model = classifier(guard="lakera_guard", endpoint=f"{service.address}/x")
    texts = [f"{i} bad" if i % 3 else f"{i}" for i in range(20)]
    service.delay = 0.01

    recording = record(model, *[prompt(t, "injection") for t in texts])

    expected = [0.8 if "bad" in text else 0.0 for text in texts]
    np.testing.assert_allclose(recording.evidence[Scores]["values"][:, 0], expected)


@openai
@pytest.mark.parametrize(
    "words", ["openai_moderation", "any_guardrail,guard=openai_moderation"]
)
def test_the_doctor_asks_once_and_shows_no_key(service: Any, words: str) -> None:
    """Which model answers, or in one line why none does."""
    well = CliRunner().invoke(cli, ["doctor", "-c", words], obj=Plugins())
    asked = len(service.requests)
    service.fail(401)
    ill = CliRunner().invoke(cli, ["doctor", "-c", words], obj=Plugins())

    assert (0, 1) == (well.exit_code, asked), well.output
    assert "OPENAI_API_KEY set" in well.output
    assert f"answer: from {service.model} in" in well.output
    assert 1 == ill.exit_code
    assert "does not accept the key" in ill.output
    assert service.key not in well.output + ill.output
