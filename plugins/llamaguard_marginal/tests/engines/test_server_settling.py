"""What a server can do is found out before the run, and compared when it is resumed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import ModelError, OptionError
from safebench.plugins import Plugins
from safebench_llamaguard_marginal.engines import discovery
from safebench_llamaguard_marginal.engines.completion_answers import NextToken
from safebench_llamaguard_marginal.engines.discovery import settle
from safebench_llamaguard_marginal.engines.endpoint import ListedModel
from safebench_llamaguard_marginal.engines.server_identity import server_state
from safebench_llamaguard_marginal.identity import model_identity
from safebench_llamaguard_marginal.options import GuardOptions
from safebench_llamaguard_marginal.strategies.catalog import ON_CANONICAL_SPELLINGS

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = [[3, 4, 5], [6, 7]]


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    """Forget what was found out of other servers."""
    discovery._known.clear()


def options(stub: Any, **more: Any) -> GuardOptions:
    """Return the options of a guard at the server."""
    settings = {"engine": "openai", "base_url": stub.address, "backoff": 0.001}
    return GuardOptions(**settings | more)


def refusing(stub: Any, *fields: str) -> None:
    """Let a server refuse requests with a field."""
    answer = stub.answer

    def strict(path: str, body: Any) -> Any:
        refused = [name for name in fields if body and name in body]
        if refused:
            return 400, {"error": {"message": f"{refused[0]}: unsupported"}}
        return answer(path, body)

    stub.answer = strict


def test_token_ids_with_probabilities_are_found(stub: Any) -> None:
    """The settled options have no auto left, and evidence has the key of before."""
    given = options(stub)

    settled, facts = settle(given, [])

    assert (True, "completions", {}) == (settled.logprobs, settled.api, facts)
    assert model_identity(given) == model_identity(settled)
    n_requests = len(stub.requests)
    assert 1 + n_requests == settled.spent
    # asked once: a page that scores prompts one by one settles them each time
    assert "completions" == settle(given, [])[0].api
    assert n_requests == len(stub.requests)


def test_requests_of_the_check_count_in_the_budget(stub: Any) -> None:
    """What may be asked in all is what the user said."""
    settled, _ = settle(options(stub, max_requests=30), [])

    assert 3 == settled.spent
    discovery._known.clear()
    with pytest.raises(ModelError, match="max_requests=2 allows"):
        settle(options(stub, max_requests=2), [])


def test_a_server_of_conversations_alone_is_found(stub: Any) -> None:
    """Its log-probabilities come by chat; the reason is kept for messages."""
    stub.completes, stub.render = False, lambda _: [3, 4]

    settled, _ = settle(options(stub), [])

    assert (True, "chat") == (settled.logprobs, settled.api)
    assert "404" in dict(settled.found)["api"]
    assert "auto" == model_identity(settled)["runs_on"]["api"]


@pytest.mark.parametrize("vendor", [True, False], ids=["any", "documented"])
def test_a_model_for_chats_is_asked_by_chat(stub: Any, vendor: bool) -> None:
    """As OpenAI refuses one at the other address, and fields that it does not know."""
    answer, stub.render = stub.answer, lambda _: [3, 4]

    def strict(path: str, body: Any) -> Any:
        if path == "/v1/completions":
            message = "This is a chat model and not supported in v1/completions."
            return 404, {"error": {"message": message}}
        if body and not vendor and "return_token_ids" in body:
            return 400, {"error": {"message": "Unrecognized request argument"}}
        return answer(path, body)

    stub.answer = strict

    assert "chat" == settle(options(stub), [])[0].api


def without_values(body: Any, answer: Any) -> Any:
    """Return an answer as a server writes it that knows of no log-probabilities."""
    choices = []
    for choice in answer["choices"]:
        texts = {"message": {"content": "safe"}} if "messages" in body else {}
        choices.append({**choice, "logprobs": None, "text": "safe", **texts})
    return {**answer, "choices": choices}


@pytest.mark.parametrize("how", ["left out", "refused"])
def test_texts_are_read_where_no_log_probabilities_come(stub: Any, how: str) -> None:
    """Left out of the answer, or refused by name; whoever insists is not overruled."""
    stub.render = lambda _: [3, 4]
    stub.change = without_values
    if how == "refused":
        refusing(stub, "logprobs", "top_logprobs")

    settled, _ = settle(options(stub), [])

    assert settled.reads_texts
    expected = "came without" if how == "left out" else "logprobs: unsupported"
    assert expected in dict(settled.found)["logprobs"]
    explicit = options(stub, logprobs=False)
    assert model_identity(explicit) == model_identity(settled)
    discovery._known.clear()
    insisting, _ = settle(options(stub, logprobs=True), [])
    assert (True, "auto", ()) == (insisting.logprobs, insisting.api, insisting.found)
    with pytest.raises(OptionError, match="top_logprobs is for"):
        settle(options(stub, top_logprobs=20), [])


def test_a_limit_of_the_listed_tokens_is_no_lack_of_them(stub: Any) -> None:
    """Texts would throw away what the server has: the load says what would help."""
    stub.max_logprobs = 5

    assert True is settle(options(stub), [])[0].logprobs


def test_samples_are_refused_where_probabilities_are_known(stub: Any) -> None:
    """They would add nothing."""
    with pytest.raises(OptionError, match="with logprobs=no it would work"):
        settle(options(stub, samples=4), [])


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for(stub: Any, status: int) -> None:
    """It says nothing of what it can do."""
    stub.fail(status, times=3)

    assert "completions" == settle(options(stub), [])[0].api


@pytest.mark.parametrize("answer", [(400, {}), (401, {}), (500, {})], ids=str)
def test_a_server_that_answers_nothing_is_no_server_of_texts(
    stub: Any, answer: Any
) -> None:
    """What fails for another reason is said where it is loaded, as ever.

    Options of texts, which loading would not understand, are refused at once.
    """
    stub.answer = lambda path, _: answer if path != "/v1/models" else (200, stub.models)

    settled, _ = settle(options(stub, retries=1), [])

    assert (True, "auto") == (settled.logprobs, settled.api)
    with pytest.raises(ModelError, match=r"asks for a key|no answers|Error code"):
        settle(options(stub, retries=1, samples=2, served_model="guard"), [])


def test_a_server_that_fails_on_token_ids_is_asked_by_chat(stub: Any) -> None:
    """Some answer 500 to what they do not know."""
    answer, stub.render = stub.answer, lambda _: [3, 4]
    stub.answer = lambda path, body: (
        (500, {"error": {"message": "prompt must be str"}})
        if path == "/v1/completions"
        else answer(path, body)
    )

    settled, _ = settle(options(stub), [])

    assert "chat" == settled.api
    assert "prompt must be str" in dict(settled.found)["api"]


def test_a_server_that_fails_once_is_not_asked_by_chat_from_then_on(stub: Any) -> None:
    """Its chat endpoint gives less, and a folder would keep to it."""
    stub.render = lambda _: [3, 4]
    stub.fail(500, times=1)

    assert "completions" == settle(options(stub), [])[0].api


def stored(stub: Any, given: GuardOptions, root: str = "/m", **more: Any) -> Any:
    """Return what a run stored of the server as it is now."""
    answers = []
    for prompt in PROMPTS:
        logp = stub.distribution(prompt)
        top = np.argsort(-logp)[:20].tolist()
        answers.append(NextToken(top[0], {i: float(logp[i]) for i in top}))
    facts = {"served_model": "guard", "served_from": root, "api": "completions"}
    identity = json.loads(json.dumps(model_identity(given)))
    model = ListedModel("guard", root, 4096)
    return {
        "identity": identity,
        "facts": facts | more,
        "state": server_state(model, PROMPTS, answers),
    }


def test_stored_evidence_needs_no_server(stub: Any) -> None:
    """It says what it is: trees, or texts, and by which api."""
    given = options(stub)
    trees = stored(stub, given, api="chat")
    texts = stored(stub, options(stub, logprobs=False))
    stub.answer = lambda *_: (503, {})

    settled, facts = settle(given, [trees])
    assert (True, "chat", "chat") == (settled.logprobs, settled.api, facts["api"])
    assert settle(given, [texts])[0].reads_texts
    assert "when this was recorded" in str(settle(given, [texts])[0].found)


@pytest.mark.parametrize("change", ["name", "root", "length", "weights"])
def test_evidence_of_another_server_is_refused(stub: Any, change: str) -> None:
    """By what it says of itself, and by what its model says of the stored prompts."""
    given = options(stub)
    before = stored(stub, given)
    assert "completions" == settle(given, [before])[0].api
    (listed,) = stub.models["data"]
    if change == "weights":
        stub.distribution = lambda prompt: np.roll(
            np.log(np.arange(1, 41) / 820.0), len(prompt)
        )
    else:
        field, value = {
            "name": ("id", "other"),
            "root": ("root", "/elsewhere"),
            "length": ("max_model_len", 128),
        }[change]
        listed[field] = value

    with pytest.raises(ModelError, match=r"--refresh.*other_server=accept"):
        settle(given, [before])
    accepted, facts = settle(options(stub, other_server="accept"), [before])
    assert ("guard", "completions") == (facts["served_model"], accepted.api)
    assert "accept" in dict(accepted.found)["other_server"]


def test_evidence_of_the_same_server_is_found_among_others(stub: Any) -> None:
    """Not the latest, and nobody guesses where the server cannot be asked."""
    given = options(stub)
    own, other = stored(stub, given), stored(stub, given, root="/later")

    assert "/m" == settle(given, [own, other])[1]["served_from"]

    stub.answer = lambda *_: (503, {})
    with pytest.raises(ModelError, match="several servers"):
        settle(given, [own, other])


def run(stub: Any, folder: Path, out: Path, *more: str) -> Any:
    """Run the command line on two texts."""
    data = out.parent / "data.jsonl"
    rows = [{"prompt": text, "label": "safe"} for text in ("How?", "naïve 漢字")]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"engine": "openai", "base_url": stub.address, "max_nodes": "4"}
    given = [f"--set={name}={value}" for name, value in settings.items()]
    arguments = ["run", "-c", "llamaguard", "--model", str(folder), "-d", str(data)]
    return CliRunner().invoke(
        cli, [*arguments, *given, "--out", str(out), *more], obj=Plugins()
    )


@pytest.mark.slow
@pytest.mark.usefixtures("templates_in_a_thread")
@pytest.mark.parametrize("strategies", [("joint",), ("joint", "greedy")], ids="+".join)
def test_what_a_server_of_chats_cannot_give_is_left_out_before_the_run(
    guard_server: Any, tiny_guard: Path, tmp_path: Path, strategies: tuple[str, ...]
) -> None:
    """Though nobody said that it is one: alone it is an error, beside others a note."""
    guard_server.completes, out = False, tmp_path / "out"
    named = [word for name in strategies for word in ("-s", name)]

    result = run(guard_server, tiny_guard, out, *named)

    plain = " ".join(result.output.split())
    assert "joint reads canonical spellings, and the chat endpoint, which is" in plain
    asked = [b for b in guard_server.requests if "How?" in str(b)]
    assert "joint" in ON_CANONICAL_SPELLINGS
    if len(strategies) == 1:
        assert (2, []) == (result.exit_code, asked)
        return
    assert 0 == result.exit_code, result.output
    rows = [json.loads(x) for x in (out / "results.jsonl").read_text().splitlines()]
    assert {("greedy", 0)} == {(row["strategy"], row["n_failed"]) for row in rows}
    # a repeat knows it from what is stored
    guard_server.answer = lambda *_: (503, {})
    again = run(guard_server, tiny_guard, out, *named)
    assert 0 == again.exit_code, again.output
    assert "uses stored evidence of 2 samples" in again.output


@pytest.mark.slow
@pytest.mark.usefixtures("templates_in_a_thread")
def test_a_repeat_reads_the_evidence_of_the_server_that_answers(
    guard_server: Any, tiny_guard: Path, tmp_path: Path
) -> None:
    """A model is served in another's place, recorded, and replaced by the first."""
    out, own = tmp_path / "out", guard_server.distribution
    (listed,) = guard_server.models["data"]

    def flatter(prompt: Any) -> Any:
        halved = own(prompt) / 2
        return halved - np.log(np.exp(halved).sum())

    def run_once(*more: str) -> str:
        result = run(guard_server, tiny_guard, out, "-s", "marginal_any", *more)
        assert 0 == result.exit_code, result.output
        return next(iter((out / "predictions").rglob("*.jsonl"))).read_text()

    first = run_once()
    guard_server.distribution, listed["root"] = flatter, "/other"
    refused = run(guard_server, tiny_guard, out, "-s", "marginal_any")
    assert 2 == refused.exit_code
    assert "which is now from /other" in " ".join(refused.output.split())
    second = run_once("--refresh")
    assert first != second
    assert second == run_once()

    guard_server.distribution, listed["root"] = own, "/m"
    n_requests = len(guard_server.requests)
    assert first == run_once()
    # the stored prompts were compared, and nothing else was asked
    assert 1 == len(guard_server.requests) - n_requests
