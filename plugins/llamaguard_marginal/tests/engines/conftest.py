"""A server on this machine that answers as vLLM does, or fails as told.

Its model is a function: every prompt has a distribution of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from safebench.testing.local_server import LocalServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from safebench.typing import Array

KEY = "sk-endpoint-key-0123456789"
SIZE = 40  # tokens of the vocabulary


def distribution(prompt: Sequence[int]) -> Array:
    """Return log-probabilities (V,) that depend on the whole prompt."""
    logits = np.random.default_rng([7, *prompt]).normal(scale=2.0, size=SIZE)
    return np.asarray(logits - np.log(np.exp(logits).sum()))


def tokenize(text: str) -> list[int]:
    """Return the ids of a text: one a character."""
    return [ord(character) % SIZE for character in text]


class StubServer(LocalServer):
    """Answers ``/v1/models`` and ``/v1/completions``; `scripted` replaces answers.

    A function of `scripted` gets the body of the next request and returns (status,
    answer, headers). `change` gets every answer, to spoil it. `requests` are the bodies
    of all requests so far.
    """

    protocol = "HTTP/1.1"

    def __init__(self) -> None:
        super().__init__()
        self.name = "guard"
        self.max_logprobs = 20
        self.looks_up = True
        self.completes = True
        self.distribution: Callable[[Sequence[int]], Array] = distribution
        self.tokenize: Callable[[str], list[int]] = tokenize
        self.scripted: list[Callable[[Any], tuple[int, Any, dict[str, str]]]] = []
        self.change: Callable[[Any, Any], Any] = lambda body, answer: answer
        self.requests: list[Any] = []
        self.keys: list[str | None] = []
        # of the chat endpoint: messages to ids, and how tokens are spelled
        self.render: Callable[[Any], list[int]] | None = None
        self.spell: Callable[[int], dict[str, Any]] = lambda token: {
            "token": f"token_id:{token}"
        }
        self.eos = 0
        self.models: Any = {
            "data": [{"id": self.name, "root": "/m", "max_model_len": 4096}]
        }

    def respond(
        self, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        """Note a request, and answer it."""
        with self.lock:
            scripted = self.scripted.pop(0) if body and self.scripted else None
            self.keys.append(headers.get("Authorization"))
            if body:
                self.requests.append(body)
        return scripted(body) if scripted else (*self.answer(path, body), {})

    def fail(self, status: int, times: int = 1, **headers: str) -> None:
        """Answer the next requests with an error that quotes the key."""
        body = {"error": {"message": f"failed with {KEY}", "code": status}}
        self.scripted += [lambda _: (status, body, headers)] * times

    def answer(self, path: str, body: Any) -> tuple[int, Any]:
        """Return status and answer of a request that nothing is scripted for."""
        if path == "/v1/models":
            return (200, self.models) if self.models else (404, {"detail": "Not Found"})
        chats = path == "/v1/chat/completions" and self.render
        if not chats and (path != "/v1/completions" or not self.completes):
            return 404, {"detail": "Not Found"}
        if body["model"] != self.name:
            return _error(404, f"The model `{body['model']}` does not exist.")
        if body.get("logprobs", 0) > self.max_logprobs:
            return _error(400, f"logprobs, max allowed: {self.max_logprobs}")
        if self.render and chats:
            return 200, self.change(
                body, self._chat(self.render(body["messages"]), body)
            )
        prompt = body["prompt"]
        prompts = [self.tokenize(prompt)] if isinstance(prompt, str) else prompt
        choices = [self._choice(i, ids, body) for i, ids in enumerate(prompts)]
        usage = {"prompt_tokens": sum(map(len, prompts))}
        return 200, self.change(body, {"choices": choices, "usage": usage})

    def _chat(self, ids: list[int], body: Any) -> dict[str, Any]:
        """Write a verdict greedily, with the likeliest tokens at each place."""
        content, path = [], list(ids)
        while len(content) < body["max_tokens"] and path[-1] != self.eos:
            logp = self.distribution(path)
            order = np.argsort(-logp, kind="stable")[: body.get("top_logprobs", 1)]
            listed = [
                {**self.spell(int(token)), "logprob": float(logp[token])}
                for token in order
            ]
            content.append({**listed[0], "top_logprobs": listed})
            path.append(int(order[0]))
        return {
            "choices": [{"index": 0, "logprobs": {"content": content}}],
            "prompt_token_ids": list(ids) if body.get("return_token_ids") else None,
            "usage": {"prompt_tokens": len(ids)},
        }

    def _choice(self, index: int, ids: Sequence[int], body: Any) -> dict[str, Any]:
        logp = self.distribution(ids)
        order = np.argsort(-logp, kind="stable")
        greedy = int(order[0])
        listed = [int(token) for token in order[: body.get("logprobs", 0)]]
        if self.looks_up and (asked := body.get("logprob_token_ids")):
            listed = [greedy, *(token for token in asked if token != greedy)]
        top = {f"token_id:{token}": float(logp[token]) for token in listed}
        logprobs = {"tokens": [f"token_id:{greedy}"], "top_logprobs": [top]}
        return {
            "index": index,
            "text": "",
            "logprobs": logprobs if "logprobs" in body else None,
            "prompt_token_ids": list(ids) if body.get("return_token_ids") else None,
        }


def _error(status: int, message: str) -> tuple[int, Any]:
    return status, {"error": {"message": message, "code": status}}


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubServer]:
    """Return a server whose key is in the environment."""
    pytest.importorskip("openai", reason="the client of OpenAI is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # No certificate is needed: to read those of the system takes longer than a test.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with serving(StubServer()) as running:
        yield running


@pytest.fixture
def guard_server(stub: StubServer, tiny_guard: Path) -> StubServer:
    """Return a server that runs the embedded guard by plain forward passes."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network: Any = AutoModelForCausalLM.from_pretrained(tiny_guard, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_guard)
    known: dict[tuple[int, ...], Array] = {}

    def distribution(prompt: Sequence[int]) -> Array:
        key = tuple(prompt)
        if key not in known:
            with torch.inference_mode():
                logits = network(torch.tensor([key])).logits[0, -1].double()
            known[key] = logits.log_softmax(-1).numpy()
        return known[key]

    def render(messages: Any) -> list[int]:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    stub.distribution, stub.render = distribution, render
    stub.tokenize = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
    stub.max_logprobs, stub.eos = 64, tokenizer.convert_tokens_to_ids("<|eot_id|>")
    return stub
