"""A server on this machine, for tests of what asks services: it says what they say."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    # status, body (a text is sent as it is) and headers, whose _ stand for -
    Answer = tuple[int, Any, dict[str, str]]


class LocalServer:
    """What a server answers: a subclass defines `respond`.

    `address` is known once it is `serving`. Each request waits `delay` seconds;
    `most_at_once` is how many were waiting together. Requests come from several
    threads: `lock` is for whatever notes them. With the `protocol` HTTP/1.1 connections
    are kept open, which clients must then close.
    """

    protocol = "HTTP/1.0"

    def __init__(self) -> None:
        self.address = ""
        self.delay = 0.0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def respond(self, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a request; `body` is JSON, None of a GET."""
        raise NotImplementedError

    def answer_in_time(
        self, path: str, body: Any, headers: Mapping[str, str]
    ) -> Answer:
        """Return the answer to a request, after the delay."""
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.delay)
        try:
            return self.respond(path, body, headers)
        finally:
            with self.lock:
                self.at_once -= 1


Server = TypeVar("Server", bound=LocalServer)


@contextmanager
def serving(local: Server) -> Iterator[Server]:
    """Run a server on a free port of this machine; its address ends in /v1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = local.protocol
        wbufsize = 1 << 16  # one packet an answer, which is not waited for

        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._reply(json.loads(self.rfile.read(length)))

        def _reply(self, body: Any) -> None:
            # of any case, as clients differ
            asked: Any = self.headers
            status, answer, headers = local.answer_in_time(self.path, body, asked)
            content = answer if isinstance(answer, str) else json.dumps(answer)
            with suppress(OSError):  # the client did not wait
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content.encode())))
                self.end_headers()
                self.wfile.write(content.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    local.address = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield local
    finally:
        server.shutdown()
        server.server_close()
