"""A server on this machine that answers as the services do, or fails as told."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.testing.local_server import LocalServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

KEY = "sk-test-key-0123456789abcdef"
# typed from the API's documentation, and not taken from the plugin
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
MODEL = "omni-moderation-2024-09-26"


def scores_of(text: str) -> dict[str, float]:
    """Return 13 scores that depend on the text alone, different for every text."""
    digest = hashlib.sha256(text.encode()).digest()
    return {name: digest[i] / 512 for i, name in enumerate(CATEGORIES)}


def is_flagged(text: str) -> bool:
    """Return the provider's verdict: by a rule of its own, not by the scores."""
    return "bad" in text


def moderation(text: str) -> dict[str, Any]:
    """Return the result of one text in the form of the API."""
    scores = scores_of(text)
    return {
        "flagged": is_flagged(text),
        "categories": dict.fromkeys(scores, False),
        "category_scores": scores,
        "category_applied_input_types": {name: ["text"] for name in scores},
    }


class Service(LocalServer):
    """Answers requests; `answers` are functions that replace the next ones.

    One of these returns (status, body, headers); body None leaves the answer to
    `answer`. `requests` holds (path, JSON body, headers) of each request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        self.answers: list[Callable[[Any], tuple[int, Any, dict[str, str]]]] = []
        self.model = MODEL
        self.answer: Callable[[str, Any], Any] = self.moderations

    def respond(
        self, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, Any, dict[str, str]]:
        """Note a request, and answer it."""
        with self.lock:
            self.requests.append((path, body, dict(headers)))
            special = self.answers.pop(0) if self.answers else None
        status, answer, more = special(body) if special else (200, None, {})
        return status, self.answer(path, body) if answer is None else answer, more

    def moderations(self, path: str, body: Any) -> Any:
        """Return the API's answer about the inputs of a request."""
        inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
        return {
            "id": "modr-1",
            "model": self.model,
            "results": [moderation(text) for text in inputs],
        }

    key = KEY
    categories = CATEGORIES
    scores_of = staticmethod(scores_of)
    is_flagged = staticmethod(is_flagged)
    result = staticmethod(moderation)

    @property
    def texts(self) -> list[str]:
        """The texts of all requests, in the order in which they came."""
        return [t for _, body, _ in self.requests for t in body["input"]]

    def fail(self, status: int, times: int = 1, **headers: str) -> None:
        """Answer the next requests with an error."""
        body = {"error": {"message": f"failed with {KEY}", "code": "x"}}
        self.answers += [lambda _: (status, body, headers)] * times

    def reply(self, body: Any, times: int = 1) -> None:
        """Answer the next requests with a body: a JSON value, or a text as it is."""
        self.answers += [lambda _: (200, body, {})] * times


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a file of 24 labelled prompts; every third is flagged by the service."""
    rows = [
        {
            "prompt": f"prompt {i}" + " bad" * (i % 3 == 0),
            "label": ("safe", "unsafe")[i % 2],
        }
        for i in range(24)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    """Return a moderation service, to which the environment points."""
    # A client reads the certificates of all authorities, and none is asked here.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with serving(Service()) as running:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", running.address)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield running
