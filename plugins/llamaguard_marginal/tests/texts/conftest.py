"""A server that writes verdicts and gives no probabilities.

Its model is a table: the texts that may follow a prompt, with their probabilities. So
what it samples can be counted, and what samples estimate is known.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from safebench.testing.local_server import LocalServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

KEY = "sk-texts-key-0123456789"
# of the documented API; other servers refuse what they do not know
DOCUMENTED = {
    *("model", "messages", "prompt", "temperature", "top_p", "seed", "max_tokens"),
    *("max_completion_tokens", "logprobs", "top_logprobs"),
}


class TextStub(LocalServer):
    """Answers conversations by a table of texts; `refuse` says what it does not take.

    `table` maps the last message to {text: probability}; others are `usual`. `written`
    holds what was answered: the last message, the temperature, the seed and the text.
    `dress` makes the message of a text. `refuse` gets a body and returns a message.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table: dict[str, Mapping[str, float]] = {}
        self.usual: Mapping[str, float] = {"safe": 1.0}
        self.written: list[tuple[str, float, int | None, str]] = []
        self.bodies: list[Any] = []
        self.keys: list[str | None] = []
        self.models: Any = {"data": [{"id": "guard-x"}]}
        self.refuse: Callable[[Any], str] = lambda _: ""
        self.finish: Callable[[str], str] = lambda _: "stop"
        self.dress: Callable[[str], dict[str, Any]] = lambda text: {"content": text}
        self.count: Callable[[Any], int | None] = lambda _: None  # of prompt tokens
        self.scripted: list[Callable[[Any], tuple[int, Any, dict[str, str]]]] = []

    @property
    def asked(self) -> list[Any]:
        """The requests about prompts, those of the checks left out."""
        return [
            body for body in self.bodies if "Hello." not in str(body.get("messages"))
        ]

    def only_documented(self) -> None:
        """Refuse other fields than the documented ones."""
        self.refuse = lambda body: next(
            (f"Unrecognized argument: {k}" for k in body if k not in DOCUMENTED), ""
        )

    def respond(
        self, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        """Answer one request."""
        with self.lock:
            self.keys.append(headers.get("Authorization"))
            if body is not None:
                self.bodies.append(body)
            scripted = self.scripted.pop(0) if body and self.scripted else None
        if scripted:
            return scripted(body)
        if path == "/v1/models" and self.models:
            return 200, self.models, {}
        if path != "/v1/chat/completions":
            return 404, {"error": {"message": "Not Found"}}, {}
        if message := self.refuse(body):
            return 400, {"error": {"message": message}}, {}
        return 200, self.chat(body), {}

    def chat(self, body: Any) -> dict[str, Any]:
        """Write a verdict: the likeliest at temperature 0, else one by the seed."""
        prompt, seed = body["messages"][-1]["content"], body.get("seed")
        texts = self.table.get(prompt, self.usual)
        text = max(texts, key=lambda text: texts[text])
        if body["temperature"]:
            chosen = random.Random(seed)
            (text,) = chosen.choices([*texts], [*texts.values()])
        with self.lock:
            self.written.append((prompt, body["temperature"], seed, text))
        choice = {"message": self.dress(text), "finish_reason": self.finish(text)}
        usage = {"prompt_tokens": self.count(body), "completion_tokens": 3}
        return {"choices": [choice], "usage": usage}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TextStub]:
    """Return a server whose key is in the environment."""
    pytest.importorskip("openai", reason="the client of OpenAI is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # No certificate is needed: to read those of the system takes longer than a test.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with serving(TextStub()) as running:
        yield running
