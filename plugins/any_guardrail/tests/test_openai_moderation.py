"""The classifier `openai_moderation`, against a server on this machine."""

from __future__ import annotations

import json
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
from safebench.testing import assert_classifier_is_sound

pytest.importorskip("openai", reason="the official client, an extra, is not installed")

from safebench_any_guardrail.openai_moderation import OpenAIModeration
from safebench_any_guardrail.options import ModerationOptions

if TYPE_CHECKING:
    from pathlib import Path

    from safebench.classifiers import Recording

FAST = {"backoff": 0.001, "retries": 2, "timeout": 240.0}


def samples(*texts: str) -> list[Sample]:
    """Return prompts to judge."""
    return [
        Sample(id=f"s{i}", turns=(Turn("user", text),)) for i, text in enumerate(texts)
    ]


def record(texts: list[str], **options: Any) -> Recording:
    """Record evidence of some prompts."""
    classifier = OpenAIModeration(ModerationOptions(**FAST | options))
    done: list[int] = []
    try:
        recording = classifier.record(samples(*texts), frozenset({Scores}), done.append)
    finally:
        classifier.close()
    assert len(texts) == sum(done)
    return recording


def run(*words: object) -> Any:
    """Run a command, whatever its exit code."""
    return CliRunner().invoke(cli, [str(word) for word in words], obj=Plugins())


def errors(recording: Recording) -> list[str | None]:
    """Return the failures by sample."""
    return [trace.error for trace in recording.traces]


@pytest.mark.parametrize(
    ("batch_size", "concurrency"), [(1, 1), (1, 4), (5, 3), (64, 2)]
)
def test_scores_are_those_of_each_text(
    service: Any, batch_size: int, concurrency: int
) -> None:
    """All 13 scores and the verdict, in order, however the texts were sent."""
    texts = [f"text {i}" + " bad" * (i % 4 == 1) for i in range(23)]
    service.delay = 0.005

    recording = record(texts, batch_size=batch_size, concurrency=concurrency)

    scores = recording.evidence[Scores]
    expected = [
        [max(service.scores_of(t).values()), *service.scores_of(t).values()]
        for t in texts
    ]
    np.testing.assert_allclose(scores["values"], expected, rtol=0, atol=1e-12)
    assert [service.is_flagged(t) for t in texts] == scores["flagged"].tolist()
    assert [*service.categories] == scores.meta["labels"][1:]
    assert [None] * 23 == errors(recording)
    requests = -(-23 // batch_size)
    assert requests + 1 == len(service.requests)  # one before the first sample
    assert requests == pytest.approx(sum(t.forward_passes for t in recording.traces))


def test_evidence_depends_on_the_sample_alone(service: Any) -> None:
    """Neither order nor batch changes it."""
    classifier = OpenAIModeration(ModerationOptions(batch_size=3))

    assert_classifier_is_sound(
        classifier, samples(*"abcdefgh"), frozenset({Scores}), 0.0
    )


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_passes_is_tried_again(service: Any, status: int) -> None:
    """Two failures, then the answer: no sample fails, and all attempts are counted."""
    classifier = OpenAIModeration(ModerationOptions(**FAST))
    service.fail(status, times=2)

    recording = classifier.record(
        samples("a", "b"), frozenset({Scores}), lambda _: None
    )

    assert [None, None] == errors(recording)
    assert [1.5, 1.5] == [trace.forward_passes for trace in recording.traces]
    assert {"requests": 4} == classifier.state


def test_the_wait_that_the_service_asks_for_is_kept(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retry-After stands over our own back-off, which doubles."""
    classifier = OpenAIModeration(ModerationOptions(backoff=0.002, retries=4))
    waits: list[float] = []
    stopped = classifier.service._stopped
    monkeypatch.setattr(stopped, "wait", lambda s: waits.append(s) or False)
    service.fail(429, times=2)
    service.fail(429, retry_after="7")
    service.fail(429, retry_after="4000")

    classifier.record(samples("a"), frozenset({Scores}), lambda _: None)

    assert [0.002, 0.004, 7.0, 60.0] == waits


def test_a_text_that_is_refused_fails_alone(service: Any) -> None:
    """Of a refused batch each text is asked alone; the reason names no key."""
    options = ModerationOptions(**FAST, batch_size=4, concurrency=1)
    classifier = OpenAIModeration(options)
    service.fail(400)  # the batch
    service.answers += [lambda _: (200, None, {})] * 2
    service.fail(400)

    recording = classifier.record(samples(*"abcd"), frozenset({Scores}), lambda _: None)

    failed = errors(recording)
    assert [None, None, None] == [failed[i] for i in (0, 1, 3)]
    assert "HTTP 400" in str(failed[2])
    assert service.key not in str(failed)
    values = recording.evidence[Scores]["values"]
    for i, text in ((0, "a"), (1, "b"), (3, "d")):
        assert list(service.scores_of(text).values()) == pytest.approx(values[i, 1:])


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "does not accept the key"), (403, "may not"), (404, "no such model")],
)
def test_what_fails_all_stops_the_run(service: Any, status: int, words: str) -> None:
    """One line with the reason, and not a thousand failed samples."""
    classifier = OpenAIModeration(ModerationOptions(**FAST))
    service.fail(status)

    with pytest.raises(ModelError, match=words) as caught:
        classifier.record(samples("a"), frozenset({Scores}), lambda _: None)

    assert service.key not in str(caught.value)


def test_an_account_without_quota_is_not_asked_again(service: Any) -> None:
    """It is a 429 like a rate limit, and no waiting helps."""
    classifier = OpenAIModeration(ModerationOptions(**FAST))
    body = {"error": {"message": "You exceeded it", "code": "insufficient_quota"}}
    service.answers.append(lambda _: (429, body, {}))

    with pytest.raises(ModelError, match="no quota left"):
        classifier.record(samples("a"), frozenset({Scores}), lambda _: None)

    assert 2 == len(service.requests)


def test_a_service_that_is_down_stops_the_run(service: Any) -> None:
    """Five samples in a row without an answer: what is recorded is kept."""
    classifier = OpenAIModeration(
        ModerationOptions(**FAST, batch_size=1, concurrency=1)
    )
    service.fail(500, times=100)

    with pytest.raises(ModelError, match=r"5 samples in a row .*HTTP 500"):
        classifier.record(samples(*"abcdefgh"), frozenset({Scores}), lambda _: None)

    assert 1 + 5 * 3 == len(service.requests)


def test_a_slow_answer_is_a_failure_of_its_sample(service: Any) -> None:
    """After the timeout it is tried again, then given up."""
    classifier = OpenAIModeration(ModerationOptions(timeout=0.05, retries=1, backoff=0))
    service.delay = 0.4

    recording = classifier.record(samples("a"), frozenset({Scores}), lambda _: None)

    assert "timed out" in str(errors(recording)[0])
    assert 2.0 == recording.traces[0].forward_passes


ANSWERS = {
    "html": ("<html>busy</html>", "no JSON"),
    "list": ([], "no object"),
    "no results": ({"model": "omni-moderation-2024-09-26"}, "no object"),
    "no model": ({"results": []}, "no object"),
    "too few": (
        {"model": "omni-moderation-2024-09-26", "results": []},
        "0 results for 1 texts",
    ),
    "an error": ({"error": {"message": "busy", "code": 9}}, "an error: busy"),
    "a text as error": ({"error": "busy", "results": []}, "an error: busy"),
    "both": (
        {"model": "omni-moderation-2024-09-26", "results": [{}], "error": {"a": 1}},
        "an error: {'a': 1}",
    ),
    "order": (
        {"model": "omni-moderation-2024-09-26", "results": [{"index": 1}]},
        "not in the order of the texts: index 1 at place 0",
    ),
    "a name twice": ('{"model": "a", "model": "b"}', "an object with one name twice"),
    "deep": ("[" * 20_000, "no JSON"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_of_another_form_is_no_answer(service: Any, case: str) -> None:
    """It is asked for once more, then the sample has failed."""
    body, words = ANSWERS[case]
    classifier = OpenAIModeration(ModerationOptions(**FAST))
    service.reply(body, times=3)

    recording = classifier.record(samples("a"), frozenset({Scores}), lambda _: None)

    assert words in str(errors(recording)[0])
    assert len(service.requests) <= 3


def without(result: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a result without some of its scores."""
    scores = {k: v for k, v in result["category_scores"].items() if k not in names}
    return result | {"category_scores": scores}


RESULTS = {
    "missing": (lambda r: without(r, "violence"), "lacks category_scores of violence"),
    "null": (
        lambda r: r | {"category_scores": r["category_scores"] | {"hate": None}},
        "lacks category_scores of hate",
    ),
    "text": (
        lambda r: r | {"category_scores": r["category_scores"] | {"hate": "high"}},
        "score of hate is 'high'",
    ),
    "above one": (
        lambda r: r | {"category_scores": r["category_scores"] | {"hate": 1.5}},
        "not in [0, 1]",
    ),
    "bool": (
        lambda r: r | {"category_scores": r["category_scores"] | {"hate": True}},
        "score of hate is True",
    ),
    "unknown": (
        lambda r: r | {"category_scores": r["category_scores"] | {"spam": 0.1}},
        "unknown categories in the answer: spam",
    ),
    "no scores": (lambda r: r | {"category_scores": None}, "no category_scores"),
    "no verdict": (lambda r: r | {"flagged": None}, "`flagged` is None"),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_result_that_lacks_something_is_no_harmless_one(
    service: Any, case: str
) -> None:
    """Its sample fails with the reason; those beside it in the batch do not."""
    spoil, words = RESULTS[case]
    classifier = OpenAIModeration(ModerationOptions(**FAST))
    results = [service.result(t) for t in "abc"]
    results[1] = spoil(results[1])
    service.reply({"model": service.model, "results": results})

    recording = classifier.record(samples(*"abc"), frozenset({Scores}), lambda _: None)

    failed = errors(recording)
    assert (None, None) == (failed[0], failed[2])
    assert words in str(failed[1])


def test_a_service_without_batches_is_asked_text_by_text(service: Any) -> None:
    """A server that answers about the first text only costs requests, not samples."""
    service.answer = lambda _, body: {
        "model": service.model,
        "results": [service.result(body["input"][0])],
    }

    recording = record([*"abcdef"], batch_size=3)

    assert [None] * 6 == errors(recording)
    values = recording.evidence[Scores]["values"]
    for row, text in zip(values, "abcdef", strict=True):
        assert list(service.scores_of(text).values()) == pytest.approx(row[1:])


def test_an_older_model_lacks_two_categories(service: Any) -> None:
    """Unknown (NaN) for all samples; the score is the largest of the others."""
    service.answer = lambda _, body: {
        "model": "text-moderation-007",
        "results": [
            without(service.result(t), "illicit", "illicit/violent")
            for t in body["input"]
        ],
    }

    recording = record(["a"])

    row = recording.evidence[Scores]["values"][0]
    known = [
        v for k, v in service.scores_of("a").items() if not k.startswith("illicit")
    ]
    assert [5, 6] == np.flatnonzero(np.isnan(row)).tolist()
    assert max(known) == pytest.approx(row[0])


def test_a_service_with_other_categories_is_refused(service: Any) -> None:
    """Before the first sample."""
    service.answer = lambda _, body: {
        "model": "m",
        "results": [without(service.result(t), "hate") for t in body["input"]],
    }

    with pytest.raises(
        ModelError, match="the answer of m lacks category_scores of hate"
    ):
        record(["a"])


def test_another_model_under_the_same_name_ends_the_run(service: Any) -> None:
    """Answers of two models are never mixed."""
    classifier = OpenAIModeration(ModerationOptions(**FAST))
    service.model = "omni-moderation-2027-01-01"

    with pytest.raises(ModelError, match="now from omni-moderation-2027-01-01"):
        classifier.record(samples("a"), frozenset({Scores}), lambda _: None)


def test_without_a_key_one_line_names_the_variable(
    service: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    """Nothing is asked."""
    monkeypatch.delenv("OPENAI_API_KEY")

    result = run("run", "-c", "openai_moderation", "-d", data, "--out", tmp_path / "r")

    assert "set the environment variable OPENAI_API_KEY" in result.output
    assert [] == service.requests


def test_a_key_is_no_option(service: Any, tmp_path: Path, data: Path) -> None:
    """It would be stored with the run; neither folder nor message has it."""
    word = "openai_moderation,api_key=sk-typed-on-the-command-line"

    result = run("run", "-c", word, "-d", data, "--out", tmp_path / "r")

    assert "read from the environment" in result.output
    assert "sk-typed" not in result.output
    assert not (tmp_path / "r").exists()


def test_a_run_from_end_to_end(service: Any, tmp_path: Path, data: Path) -> None:
    """The verdict decides, the score ranks, and no key is stored."""
    service.fail(500)
    out = tmp_path / "run"

    result = run(
        "run", "-c", "openai_moderation,backoff=0.001", "-s", "provider_decision",
        "-s", "score", "-d", data, "--out", out,
    )  # fmt: skip

    assert 0 == result.exit_code, result.output
    rows = {(r.strategy, r.metric): r for r in read_rows(out / "results.jsonl")}
    lines = (out / "predictions").rglob("*.jsonl")
    decided = {
        name: [json.loads(line)["decision"] for line in path.read_text().splitlines()]
        for path in lines
        for name in ("provider_decision", "score")
        if name in path.name
    }
    flagged = [float("bad" in text) for text in texts_of(data)]
    assert flagged == decided["provider_decision"]
    # the scores of this service stay below 0.5, the core's threshold
    assert [0.0] * 24 == decided["score"]
    row = rows["provider_decision", "auroc"]
    assert "openai-moderation-13" == row.policy
    assert rows["score", "brier"].value is None
    manifest = json.loads((out / "manifest.json").read_text())
    facts = manifest["models"]["openai_moderation"]["facts"]
    assert service.model == facts["served_model"]
    for path in filter(lambda p: p.is_file(), out.rglob("*")):
        assert service.key.encode() not in path.read_bytes(), path
    assert service.key not in result.output


def texts_of(data: Path) -> list[str]:
    """Return the prompts of a data file."""
    return [json.loads(line)["prompt"] for line in data.read_text().splitlines()]


def test_a_run_goes_on_where_its_budget_ended(
    service: Any, tmp_path: Path, data: Path
) -> None:
    """What was paid for is not asked again; the whole equals an uninterrupted run."""
    words = ["run", "-d", data, "--shard-size", 4]
    option = "openai_moderation,batch_size=2,concurrency=1"

    first = run(*words, "-c", f"{option},max_requests=6", "--out", tmp_path / "a")
    asked = set(service.texts)
    again = run(*words, "-c", option, "--out", tmp_path / "a")
    total = len(service.requests)
    whole = run(*words, "-c", option, "--out", tmp_path / "b")

    assert "max_requests=6" in first.output
    assert (0, 0) == (again.exit_code, whole.exit_code)
    assert 1 < len(asked) < 24
    # a shard of two requests was lost, and the test request was made twice
    assert 12 + 2 + 1 >= total
    assert predictions(tmp_path / "a") == predictions(tmp_path / "b")
    (state,) = (tmp_path / "a").rglob("state.json")
    assert total >= json.loads(state.read_text())["requests"] > 12


def predictions(folder: Path) -> list[bytes]:
    """Return the stored predictions of a run."""
    return [p.read_bytes() for p in sorted((folder / "predictions").rglob("*.jsonl"))]


@pytest.mark.slow
def test_a_resumed_run_notes_that_the_model_is_another(
    service: Any, tmp_path: Path, data: Path
) -> None:
    """Nothing of the old model is mixed in: all is recorded again, and it says so."""
    words = ["run", "-c", "openai_moderation", "-d", data, "--out", tmp_path / "r"]
    run(*words, "--limit", 10)
    service.model = "omni-moderation-2027-01-01"

    result = run(*words)

    assert 0 == result.exit_code, result.output
    note = "served_model was 'omni-moderation-2024-09-26' and is 'omni-moderation-2027"
    assert note in " ".join(result.output.split())
    assert 2 == len(list((tmp_path / "r" / "evidence").iterdir()))


def test_judging_again_asks_nobody(service: Any, tmp_path: Path, data: Path) -> None:
    """Stored evidence serves another strategy without a request."""
    words = ["run", "-c", "openai_moderation", "-d", data, "--out", tmp_path / "r"]
    run(*words)
    before = len(service.requests)

    result = run(*words, "-s", "score")

    assert 0 == result.exit_code, result.output
    assert before == len(service.requests)
