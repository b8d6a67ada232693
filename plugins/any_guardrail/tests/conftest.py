"""A server on this machine that answers as the services do, or fails as told."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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


class Service:
    """Answers requests; `answers` are functions that replace the next ones.

    One of these returns (status, body, headers); body None leaves the answer to
    `answer`. `requests` holds (path, JSON body, headers) of each request.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        self.answers: list[Callable[[Any], tuple[int, Any, dict[str, str]]]] = []
        self.model = MODEL
        self.delay = 0.0
        self.address = ""
        self.lock = threading.Lock()
        self.answer: Callable[[str, Any], Any] = self.moderations
        self.at_once = 0
        self.most_at_once = 0

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


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """Run a server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            with service.lock:
                service.requests.append((self.path, body, dict(self.headers)))
                special = service.answers.pop(0) if service.answers else None
                service.at_once += 1
                service.most_at_once = max(service.most_at_once, service.at_once)
            time.sleep(service.delay)
            status, answer, headers = special(body) if special else (200, None, {})
            if answer is None:
                answer = service.answer(self.path, body)
            content = answer if isinstance(answer, str) else json.dumps(answer)
            with service.lock:
                service.at_once -= 1
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            with suppress(OSError):  # the client did not wait
                self.wfile.write(content.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    service.address = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


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
