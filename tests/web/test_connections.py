"""Connections over real sockets: slow, silent, many, and malformed ones."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from waitress import wasyncore

from safebench.web import server
from safebench.web.app import create_app
from safebench.web.server import TimedChannel, create_server, open_listener
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from wsgiref.types import WSGIApplication

    from safebench.plugins import Plugins

HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SOON = 30.0  # seconds, on a busy machine: those who must wait do so for 40


@contextmanager
def served(app: WSGIApplication) -> Iterator[int]:
    """Serve an application in a thread; yield its port."""
    with open_listener("127.0.0.1", 0) as listener:
        server = create_server(app, listener)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        # first who answers: a thread that is done with an answer tells the loop so
        server.task_dispatcher.shutdown()
        # in the thread of the loop, which ends when nothing is left to look at
        server.trigger.pull_trigger(lambda: wasyncore.close_all(server._map))
        thread.join(240)


@pytest.fixture
def port(odd_guards: Plugins, tmp_path: Any, monkeypatch: Any) -> Iterator[int]:
    """Serve a site from an empty folder; yield its port."""
    monkeypatch.chdir(tmp_path)
    with served(create_app(AppState(plugins=odd_guards))) as number:
        get(number, "/")  # what is imported by the first page is no part of a test
        yield number


def get(port: int, path: str) -> tuple[int, float]:
    """Return the status of a page and how many seconds it took."""
    start = time.monotonic()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
    try:
        client.request("GET", path)
        response = client.getresponse()
        response.read()
    finally:
        client.close()
    return response.status, time.monotonic() - start


def connect(port: int, data: bytes = b"") -> socket.socket:
    """Open a connection and send bytes."""
    client = socket.create_connection(("127.0.0.1", port), timeout=240)
    client.sendall(data)
    return client


def answer(port: int, data: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    with connect(port, data) as client:
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    received = b""
    while data := client.recv(65536):
        received += data
    return received


@pytest.mark.slow
@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET / HT",
        HEAD,
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nprompt=",
    ],
)
def test_unfinished_connections_hold_nobody_up(port: int, beginning: bytes) -> None:
    """With 130 of them open, pages and files come as fast as with none."""
    with ExitStack() as stack:
        for _ in range(130):
            stack.enter_context(connect(port, beginning))
        answers = [get(port, path) for path in ("/", "/runs/", "/static/style.css")]

    assert [200] * 3 == [status for status, _ in answers]
    assert max(seconds for _, seconds in answers) < SOON


@pytest.mark.slow
def test_there_is_always_room_for_one_more(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the connection that is silent for longest is closed."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 20)
    with ExitStack() as stack:
        silent = [stack.enter_context(connect(port)) for _ in range(30)]
        assert (200, True) == (get(port, "/")[0], get(port, "/")[1] < SOON)
        assert b"" == silent[0].recv(1)
        silent[-1].sendall(HEAD + b"Connection: close\r\n\r\n")
        assert b"200 OK" in read_all(silent[-1])


@pytest.mark.slow
@pytest.mark.parametrize("drip", [b"", b"X"])
def test_a_request_that_does_not_end_is_answered(
    port: int, monkeypatch: pytest.MonkeyPatch, drip: bytes
) -> None:
    """408 after the limit, though a byte comes now and then, and it is closed."""
    monkeypatch.setattr(TimedChannel, "request_seconds", 1.0)
    start = time.monotonic()
    with connect(port, HEAD) as client:
        client.settimeout(0.2)
        received = b""
        while time.monotonic() - start < 240:
            try:
                data = client.recv(65536)
            except TimeoutError:
                client.sendall(drip)
                continue
            received += data
            if not data:
                break

    assert received.startswith(b"HTTP/1.0 408 Request Timeout")
    assert b"not complete after 1 seconds" in received
    assert 1.0 <= time.monotonic() - start


@pytest.mark.slow
def test_a_silent_connection_is_closed(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has sent nothing, and one that has had its answer."""
    with connect(port) as silent, connect(port, HEAD + b"\r\n") as answered:
        beginning = answered.recv(12)
        monkeypatch.setattr(TimedChannel, "idle_seconds", 1.0)
        assert b"" == silent.recv(1)
        assert (beginning + read_all(answered)).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.slow
@pytest.mark.parametrize(
    "request_line",
    [b"GET http://[/ HTTP/1.1", b"GET //]/ HTTP/1.1", b"GET http://a]b/ HTTP/1.1",
     b"\xff\xff", b"GET / HTTP/1.1\r\nno colon", b"GET /\xff HTTP/1.1"],
)  # fmt: skip
def test_what_cannot_be_read_is_answered(port: int, request_line: bytes) -> None:
    """400 or 404, and never a connection that is closed without a word."""
    received = answer(
        port, request_line + b"\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )

    assert received[:9] in (b"HTTP/1.0 ", b"HTTP/1.1 ")
    assert received[9:12] in (b"400", b"404")


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), MemoryError()]
)
def test_a_request_that_dies_is_answered(
    error: BaseException, capfd: pytest.CaptureFixture[str]
) -> None:
    """500, one line in the terminal, and the threads serve on."""

    def die(environ: Any, start_response: Any) -> Any:
        raise error

    with served(die) as port:
        statuses = [get(port, "/")[0] for _ in range(20)]  # more than there are threads

    assert [500] * 20 == statuses
    printed = capfd.readouterr().err
    assert f"a request died of {type(error).__name__}" in printed
    assert "Traceback" not in printed
