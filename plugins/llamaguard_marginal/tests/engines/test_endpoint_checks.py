"""What a server can do is found out before a run, and what would spoil it refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.errors import ModelError
from safebench_llamaguard_marginal.engines.endpoint import Endpoint
from safebench_llamaguard_marginal.engines.endpoint_checks import (
    NoCompletionsError,
    ServerFacts,
    check_server,
)
from safebench_llamaguard_marginal.engines.endpoint_options import EndpointOptions

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 40


def check(stub: Any, top: int = 5, **options: Any) -> ServerFacts:
    """Check the server with a tokenizer as it has one."""
    settings: dict[str, Any] = {"base_url": stub.address, "backoff": 0.001}
    endpoint = Endpoint(EndpointOptions(**settings | options))
    try:
        return check_server(
            endpoint,
            lambda text: [ord(character) % SIZE for character in text],
            SIZE,
            top,
        )
    finally:
        endpoint.close()


def refusal(stub: Any, **options: Any) -> str:
    """Return why the server is refused."""
    with pytest.raises(ModelError) as error:
        check(stub, **options)
    return error.value.message


def test_a_server_says_what_it_serves(stub: Any) -> None:
    """The only model is taken, its length with it, and look-ups are tried."""
    facts = check(stub)

    assert "guard" == facts.model.id
    assert 4096 == facts.model.max_tokens
    assert "/m" == facts.model.root
    assert 128 == facts.max_ids


def test_look_ups_that_are_ignored_are_none(stub: Any) -> None:
    """Servers that do not know the field answer as if it were not there."""
    stub.looks_up = False

    assert 0 == check(stub).max_ids


def test_look_ups_may_be_refused(stub: Any) -> None:
    """A server that checks its fields says so."""
    answer = stub.answer

    def strict(path: str, body: Any) -> Any:
        if body and "logprob_token_ids" in body:
            return 400, {"error": {"message": "extra field", "code": 400}}
        return answer(path, body)

    stub.answer = strict

    assert 0 == check(stub).max_ids


def test_a_wrong_name_is_answered_with_the_right_one(stub: Any) -> None:
    """The nearest of those that are served, or all of them."""
    assert "did you mean 'guard'?" in refusal(stub, served_model="guards")
    stub.models = {"data": [{"id": "a"}, {"id": "b"}]}
    assert "several models (served_model); the server has a, b" in refusal(stub)


def test_a_server_without_a_list_needs_a_name(stub: Any) -> None:
    """Then the name is taken as it is."""
    stub.models = None
    assert "does the address end in /v1?" in refusal(stub)
    assert "guard" == check(stub, served_model="guard").model.id
    stub.name = "other"
    assert "does not exist" in refusal(stub, served_model="guard")


def test_nothing_at_an_address_is_said(stub: Any) -> None:
    """With what to look at, and at once."""
    message = refusal(stub, base_url="http://127.0.0.1:9/v1")

    assert "nothing answers" in message
    assert "is the server running" in message


def test_a_missing_key_is_named(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable, and a wrong one as well."""
    stub.answer = lambda path, body: (401, {"error": {"message": "who are you?"}})

    assert "OPENAI_API_KEY is not accepted" in refusal(stub)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "variable OPENAI_API_KEY is not set" in refusal(stub)
    assert "variable MY_KEY is not set" in refusal(stub, api_key_env="MY_KEY")


def test_too_many_log_probabilities_are_refused_with_the_reason(stub: Any) -> None:
    """The server's own limit, and both ways out of it."""
    message = refusal(stub, top=21)

    assert "no 21 log-probabilities: logprobs, max allowed: 20" in message
    assert "--max-logprobs 21" in message


def test_another_tokenizer_is_refused(stub: Any) -> None:
    """By its ids, even where their number is the same; or by their number."""
    stub.tokenize = lambda text: [(ord(c) + 1) % SIZE for c in text]
    assert "as 13 tokens, the tokenizer here as 13 others" in refusal(stub)

    def without_ids(body: Any, answer: Any) -> Any:
        for choice in answer["choices"]:
            choice["prompt_token_ids"] = None
        return answer

    stub.change = without_ids
    assert 128 == check(stub).max_ids  # no more can be seen than the number
    stub.tokenize = lambda text: [1] * (len(text) // 2)
    assert "as 6 tokens, the tokenizer here as 13:" in refusal(stub)


def test_values_of_the_sampling_distribution_are_refused(stub: Any) -> None:
    """They change with the temperature, and the model's own do not."""

    def processed(body: Any, answer: Any) -> Any:
        for choice in answer["choices"] if body["temperature"] else ():
            if choice["logprobs"]:
                listed = choice["logprobs"]["top_logprobs"][0]
                listed.update({token: value - 1.0 for token, value in listed.items()})
        return answer

    stub.change = processed

    assert "change with the temperature" in refusal(stub)


def test_raw_logits_are_refused(stub: Any) -> None:
    """Before the run, and not in a table."""
    stub.distribution = lambda prompt: 10.0 - np.arange(SIZE)

    assert "raw logits" in refusal(stub)


def test_a_server_that_comes_back_with_another_model_is_noticed(stub: Any) -> None:
    """After a failure: answers of two models are no run."""
    endpoint = Endpoint(EndpointOptions(base_url=stub.address, backoff=0.001))
    facts = check_server(endpoint, lambda text: [ord(c) % SIZE for c in text], SIZE, 5)
    endpoint.after_failures = facts.probe.check_unchanged
    prompts = [[1, 2], [3]]

    stub.fail(503)
    expected = endpoint.next_tokens(prompts, SIZE, top=5)
    assert expected == endpoint.next_tokens(prompts, SIZE, top=5)

    same = stub.distribution
    stub.distribution = lambda prompt: same([*prompt, 1])
    stub.fail(503)
    with pytest.raises(ModelError, match="another model than at first answers as"):
        endpoint.next_tokens(prompts, SIZE, top=5)
    endpoint.close()


@pytest.mark.parametrize(
    "answer",
    [
        lambda path, body: (404, {"detail": "Not Found"}),
        lambda path, body: (400, {"error": {"message": "prompt must be a string"}}),
        lambda path, body: (200, {"choices": [{"index": i} for i in range(3)]}),
    ],
    ids=["no-route", "no-ids", "no-logprobs"],
)
def test_servers_without_such_completions_may_still_chat(
    stub: Any, answer: Callable[[str, Any], Any]
) -> None:
    """That is told apart from what is wrong."""
    listed = stub.models
    stub.answer = lambda path, body: answer(path, body) if body else (200, listed)

    with pytest.raises(NoCompletionsError):
        check(stub)
