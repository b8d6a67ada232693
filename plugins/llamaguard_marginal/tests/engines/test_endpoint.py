"""Next tokens of a server: right and in order, or asked for again, or refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError, OptionError
from safebench_llamaguard_marginal.engines import endpoint as endpoint_module
from safebench_llamaguard_marginal.engines.completion_answers import as_listed
from safebench_llamaguard_marginal.engines.endpoint import Endpoint
from safebench_llamaguard_marginal.engines.endpoint_options import EndpointOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROMPTS = [[i % 7, i, 3] for i in range(23)]
SIZE = 40
KEY = "sk-endpoint-key-0123456789"


@pytest.fixture
def connect(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Endpoint]]:
    """Return what connects to the server, with options that wait little."""
    monkeypatch.setattr(endpoint_module, "_ROUND_WAIT", 0.0)
    opened = []

    def connect(**options: Any) -> Endpoint:
        settings: dict[str, Any] = {
            "base_url": stub.address,
            "served_model": "guard",
            "backoff": 0.001,
            "retries": 2,
            "prompts_per_request": 5,
        }
        opened.append(Endpoint(EndpointOptions(**settings | options)))
        return opened[-1]

    yield connect
    for endpoint in opened:
        endpoint.close()


def spoil(change: Callable[[dict[str, Any]], None], times: int) -> Callable[..., Any]:
    """Return what changes the first choice of the next `times` answers."""
    left = [times]

    def changed(_: Any, answer: Any) -> Any:
        if left[0]:
            left[0] -= 1
            change(answer["choices"][0])
        return answer

    return changed


def always_spoilt(body: Any, answer: Any) -> Any:
    """Answer requests for the likeliest tokens as vLLM does beside look-ups."""
    if "logprobs" in body and "logprob_token_ids" not in body:
        for choice in answer["choices"]:
            listed = choice["logprobs"]["top_logprobs"][0]
            greedy = choice["logprobs"]["tokens"][0]
            spoilt = {greedy: max(listed.values()), "token_id:0": -9999.0}
            choice["logprobs"]["top_logprobs"][0] = spoilt
    return answer


def set_value(choice: dict[str, Any], value: float) -> None:
    """Give a value to the last token that a choice lists."""
    listed = choice["logprobs"]["top_logprobs"][0]
    listed[[*listed][-1]] = value


def test_the_likeliest_tokens_come_in_the_order_of_the_prompts(
    stub: Any, connect: Callable[..., Endpoint]
) -> None:
    """Requests are made side by side, and every one is full but the last."""
    stub.delay = 0.02
    stub.change = lambda _, answer: {**answer, "choices": answer["choices"][::-1]}

    found = connect(concurrency=3).next_tokens(PROMPTS, SIZE, top=6)

    for prompt, answer in zip(PROMPTS, found, strict=True):
        logp = stub.distribution(prompt)
        likeliest = sorted(range(SIZE), key=lambda token: -logp[token])[:6]
        assert likeliest[0] == answer.greedy
        assert {token: pytest.approx(logp[token]) for token in likeliest} == answer.logp
    assert [3, 5, 5, 5, 5] == sorted(len(body["prompt"]) for body in stub.requests)
    assert 1 < stub.most_at_once <= 3


def test_given_ids_are_looked_up_by_list(
    stub: Any, connect: Callable[..., Endpoint]
) -> None:
    """Prompts with one list share requests; every id comes with its own value."""
    many, few = [1, 2, 39], [[i] for i in range(4, 8)]
    asked = [many] * 19 + few

    found = connect(prompts_per_request=100).next_tokens(PROMPTS, SIZE, asked=asked)

    sent = [(len(b["prompt"]), b["logprob_token_ids"]) for b in stub.requests]
    assert [(4, [4, 5, 6, 7]), (19, many)] == sorted(sent)
    for prompt, ids, answer in zip(PROMPTS, asked, found, strict=True):
        logp = stub.distribution(prompt)
        assert {answer.greedy, *ids} <= answer.logp.keys()
        assert logp.argmax() == answer.greedy
        assert all(value == pytest.approx(logp[i]) for i, value in answer.logp.items())


def test_no_request_asks_for_more_ids_than_a_server_takes(
    stub: Any, connect: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists are put together up to that many."""
    monkeypatch.setattr(endpoint_module, "MAX_IDS", 5)
    asked = [[i, i + 1, i + 2] for i in range(len(PROMPTS))]

    found = connect(prompts_per_request=100).next_tokens(PROMPTS, SIZE, asked=asked)

    assert max(len(b["logprob_token_ids"]) for b in stub.requests) == 5
    assert all({*ids} <= f.logp.keys() for ids, f in zip(asked, found, strict=True))


def test_arrays_say_how_likely_an_unlisted_token_can_be(
    stub: Any, connect: Callable[..., Endpoint]
) -> None:
    """The K-th of the likeliest tokens; of given ids, the likeliest token."""
    endpoint = connect()
    logp = [sorted(stub.distribution(prompt), reverse=True) for prompt in PROMPTS]

    listed = as_listed(endpoint.next_tokens(PROMPTS, SIZE, top=4), 4)
    assert (23, 4) == listed.ids.shape == listed.logp.shape
    assert [row[3] for row in logp] == pytest.approx(listed.max_unlisted.tolist())
    assert listed.n_top is None

    one = [0]
    looked_up = endpoint.next_tokens(PROMPTS, SIZE, asked=[one] * len(PROMPTS))
    listed = as_listed(looked_up, 0)
    assert [row[0] for row in logp] == pytest.approx(listed.max_unlisted.tolist())
    padding = listed.ids < 0
    assert (listed.logp[padding] == -math.inf).all()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_passes_is_asked_for_again(
    stub: Any, connect: Callable[..., Endpoint], status: int
) -> None:
    """A limit of the rate or an error of the server costs one more request each."""
    endpoint = connect(concurrency=1)
    stub.fail(status, times=2)

    assert 23 == len(endpoint.next_tokens(PROMPTS, SIZE, top=3))

    assert 5 + 2 == len(stub.requests) == endpoint.service.n_requests


def test_a_service_says_how_long_to_wait(
    stub: Any, connect: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retry-After replaces the wait of our own."""
    endpoint = connect(concurrency=1, backoff=3.0)
    waits: list[float] = []
    monkeypatch.setattr(
        endpoint.service._stopped, "wait", lambda seconds: bool(waits.append(seconds))
    )
    stub.fail(429, retry_after="7")
    stub.fail(503)

    endpoint.next_tokens(PROMPTS[:1], SIZE, top=3)

    assert [7.0, 6.0] == waits


def test_a_server_that_stays_down_ends_the_run_without_the_key(
    stub: Any, connect: Callable[..., Endpoint]
) -> None:
    """After all retries; the message says that the same command goes on."""
    stub.fail(500, times=99)

    with pytest.raises(ModelError, match="the same command goes on") as error:
        connect(concurrency=1).next_tokens(PROMPTS[:1], SIZE, top=3)

    assert "failed with ***" in str(error.value)
    assert 3 == len(stub.requests)
    assert {f"Bearer {KEY}"} == set(stub.keys)


def test_a_key_that_is_refused_is_not_tried_again(
    stub: Any, connect: Callable[..., Endpoint]
) -> None:
    """No waiting helps."""
    stub.fail(401)

    with pytest.raises(ModelError, match="does not accept the key"):
        connect(concurrency=1).next_tokens(PROMPTS, SIZE, top=3)

    assert 1 == len(stub.requests)


def test_an_answer_that_is_late_is_given_up(
    stub: Any, connect: Callable[..., Endpoint]
) -> None:
    """`timeout` counts for the whole answer, and a slow server is asked again."""
    endpoint = connect(timeout=0.1, retries=1)
    stub.delay = 0.4

    with pytest.raises(ModelError, match=r"within 0\.1 s|timed out"):
        endpoint.next_tokens(PROMPTS[:1], SIZE, top=3)

    assert 2 == endpoint.service.n_requests


def test_no_more_requests_than_allowed(
    stub: Any, connect: Callable[..., Endpoint]
) -> None:
    """The budget counts attempts, and what it leaves undone is said."""
    with pytest.raises(ModelError, match="max_requests=3 allows"):
        connect(max_requests=3, concurrency=1).next_tokens(PROMPTS, SIZE, top=3)

    assert 3 == len(stub.requests)


@pytest.mark.parametrize("value", [-9999.0, -math.inf])
def test_answers_that_another_user_spoilt_are_asked_for_again(
    stub: Any, connect: Callable[..., Endpoint], value: float
) -> None:
    """The spoilt places alone, until they are right: the values are those of before."""

    def two_entries(choice: dict[str, Any]) -> None:
        listed = choice["logprobs"]["top_logprobs"][0]
        choice["logprobs"]["top_logprobs"][0] = {
            choice["logprobs"]["tokens"][0]: max(listed.values()),
            "token_id:0": value,
        }

    endpoint = connect(concurrency=1)
    right = endpoint.next_tokens(PROMPTS, SIZE, top=3)
    stub.requests.clear()
    stub.change = spoil(two_entries, 4)

    assert right == endpoint.next_tokens(PROMPTS, SIZE, top=3)
    assert [5, 5, 5, 5, 3, 4] == [len(body["prompt"]) for body in stub.requests]


def test_where_others_always_spoil_answers_the_likeliest_token_is_known(
    stub: Any, connect: Callable[..., Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By id, which nobody spoils; nothing unlisted is likelier, and no wait is long."""
    monkeypatch.setattr(endpoint_module, "_ROUND_WAIT", 0.0)
    stub.change = always_spoilt
    endpoint = connect(concurrency=1)
    truth = [stub.distribution(prompt) for prompt in PROMPTS]

    for rounds in (8, 2):
        stub.requests.clear()
        found = endpoint.next_tokens(PROMPTS, SIZE, top=4, looks_up=True)
        top = [body for body in stub.requests if "logprob_token_ids" not in body]
        assert rounds * 5 == len(top)
        assert [int(p.argmax()) for p in truth] == [t.greedy for t in found]
        listed = as_listed(found, 4)
        assert [p.max() for p in truth] == pytest.approx(listed.max_unlisted.tolist())
        assert listed.n_top is not None
        assert {1} == set(listed.n_top.tolist())
        for own, logp in zip(found, truth, strict=True):
            assert all(own.logp[i] == pytest.approx(logp[i]) for i in own.logp)


def test_answers_that_are_always_spoilt_end_the_run(
    stub: Any, connect: Callable[..., Endpoint]
) -> None:
    """A server that gives fewer tokens than it is asked for is named as one."""
    stub.change = spoil(lambda choice: set_value(choice, -9999.0), 10**6)

    with pytest.raises(ModelError, match="lack the 3 likeliest tokens"):
        connect().next_tokens(PROMPTS, SIZE, top=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda choice: set_value(choice, 2.5), "raw logits"),
        (lambda choice: set_value(choice, 0.0), "sum up to"),
        (lambda choice: set_value(choice, math.nan), "that is NaN"),
        (lambda choice: set_value(choice, True), "a log-probability of True"),
        (lambda choice: set_value(choice, "high"), "a log-probability of 'high'"),
        (lambda choice: choice.pop("logprobs"), "without logprobs"),
        (lambda choice: choice["logprobs"].pop("tokens"), "without tokens"),
        (lambda choice: choice.update(index=1), "index 1, twice"),
        (lambda choice: choice.update(index=77), "no prompt has"),
        (lambda choice: choice["logprobs"].update(top_logprobs=["x"]), "no object"),
        (
            lambda choice: choice["logprobs"]["top_logprobs"][0].update(
                {"token_id:40": -9.0}
            ),
            "token 40, and the tokenizer here has 40",
        ),
        (
            lambda choice: choice["logprobs"]["top_logprobs"][0].update({"yes": -9.0}),
            "the text 'yes' of a token",
        ),
    ],
    ids=[
        *("positive", "sum", "nan", "bool", "text", "no-logprobs", "no-tokens"),
        *("index-twice", "index-far", "no-object", "id", "token-text"),
    ],
)
def test_values_that_cannot_be_right_are_refused(
    stub: Any,
    connect: Callable[..., Endpoint],
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    """Nothing of such an answer becomes a probability."""
    stub.change = spoil(change, 10**6)

    with pytest.raises(ModelError, match=message):
        connect().next_tokens(PROMPTS[:4], SIZE, top=3)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("<html>busy</html>", "no JSON, but"),
        ("[1]", "no JSON object"),
        ({"error": {"message": "overloaded"}}, "an error: overloaded"),
        ({"choices": "none"}, "no list of `choices`"),
        ({"choices": [{"index": 0}]}, "1 choices for 4 prompts"),
    ],
    ids=["html", "list", "error", "choices", "count"],
)
def test_answers_of_another_form_are_refused(
    stub: Any, connect: Callable[..., Endpoint], answer: Any, message: str
) -> None:
    """A gateway may answer with status 200 and something else."""
    stub.change = lambda _, __: answer

    with pytest.raises(ModelError, match=message):
        connect().next_tokens(PROMPTS[:4], SIZE, top=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, "is no address"),
        ({"base_url": "ftp://host/v1"}, "is no address"),
        ({"base_url": "http://host:port/v1"}, "is no address"),
        ({"base_url": "http://me:secret@host/v1"}, "more than an address"),
        ({"base_url": "http://host/v1?key=secret"}, "more than an address"),
        ({"api_key_env": "sk-0123456789"}, "no key"),
        ({"prompts_per_request": 0}, "not 1 or more"),
    ],
    ids=["scheme", "ftp", "port", "password", "query", "key", "batch"],
)
def test_options_that_hold_secrets_or_cannot_be_are_refused(
    options: dict[str, Any], message: str
) -> None:
    """Options are stored with each run, and what was refused is not repeated."""
    with pytest.raises(OptionError, match=message) as error:
        EndpointOptions(**options)

    assert "secret" not in str(error.value)
    assert "sk-" not in str(error.value)
