"""Serve the application on this machine, in connections with a time limit.

Waitress reads all connections in one thread and waits for slow ones for ever, as
long as a byte comes now and then; and it takes no new ones beyond a fixed number.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.utilities import Error

from safebench.console import echo
from safebench.errors import SafebenchError
from safebench.isolation import describe_error

from .state import MAX_HELD_REQUESTS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from waitress.server import BaseWSGIServer


SERVER_THREADS = 2 * MAX_HELD_REQUESTS
# Waitress closes the connection of a longer request, and the browser shows no reason.
# So it takes more than a form may hold, and the application answers with a page.
MAX_REQUEST_BYTES = 64 * 2**20
# Of an answer that its reader does not take: beyond it, a thread would wait for him.
MAX_UNREAD_BYTES = 2**30
# For a whole request, from its first byte: the largest form at 1 Mbit/s takes that.
REQUEST_SECONDS = 40.0
IDLE_SECONDS = 60.0  # without a byte, in or out
MAX_CONNECTIONS = 400


class AddressError(SafebenchError):
    """The address cannot be served on."""


def serve(
    app: WSGIApplication, host: str, port: int, on_ready: Callable[[str], None]
) -> None:
    """Serve until interrupted; `on_ready` gets the address once it can be opened.

    Port 0 takes any free one. Raises `AddressError` if the address is taken.
    """
    with open_listener(host, port) as listener:
        server = create_server(app, listener)
        on_ready(f"http://{_url_host(host)}:{listener.getsockname()[1]}/")
        try:
            server.run()
        finally:
            server.close()


def create_server(app: WSGIApplication, listener: socket.socket) -> BaseWSGIServer:
    """Return a server that neither slow clients nor many of them can hold up."""
    from waitress import server as waitress_server

    # it warns of each request that waits for a thread, and there is nothing to do
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = waitress_server.create_server(
        answer_always(app),
        sockets=[listener],
        threads=SERVER_THREADS,
        max_request_body_size=MAX_REQUEST_BYTES,
        outbuf_high_watermark=MAX_UNREAD_BYTES,
        # more than are kept: a new one is taken first, then an old one is closed
        connection_limit=2 * max_connections(),
        asyncore_use_poll=True,  # select takes no more than 1,024 descriptors
        ident="safebench",
    )
    assert isinstance(server, waitress_server.BaseWSGIServer)  # of a single socket
    server.channel_class = TimedChannel
    return server


def answer_always(app: WSGIApplication) -> WSGIApplication:
    """Return an application that answers 500 to a request whose code exits.

    The framework answers for every exception but those that end a program; the thread
    that serves the request would leave its connection open, without a word.
    """

    def answer(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        try:
            return app(environ, start_response)
        except BaseException as error:  # noqa: BLE001 - also sys.exit of a plugin
            echo(f"a request died of {describe_error(error)}", err=True)
            headers = [("Content-Type", "text/plain; charset=utf-8")]
            start_response("500 Internal Server Error", headers, sys.exc_info())
            return [b"Something broke; the terminal that serves this page says what.\n"]

    return answer


def open_listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address, or raise `AddressError`."""
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        hint = "; is it served already? --port 0 takes a free one" if taken else ""
        reason = getattr(error, "strerror", None) or str(error)
        what = f"cannot serve on {host}:{port}: {reason.partition(' (')[0].lower()}"
        raise AddressError(what + hint) from None


def is_local(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url_host(host: str) -> str:
    """Return a host for a URL: IPv6 in brackets, and one address for "any"."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


class RequestTimeout(Error):  # noqa: N818 - the name that the HTTP standard gives it
    """The answer to a request that does not come to its end."""

    code = 408
    reason = "Request Timeout"


class AnsweringParser(HTTPRequestParser):
    """A parser that refuses whatever its parts cannot read.

    The library leaves it to `urllib` to split an address, and lets its errors out: the
    connection would be closed without an answer.
    """

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head of a request; raises `ParsingError` for what is none."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            raise ParsingError(f"the request cannot be read: {error}") from error


class TimedChannel(HTTPChannel):
    """A connection that is answered and closed when its request takes too long.

    When there are too many, the one that has been silent for the longest time makes
    room for a new one: a browser that has a page to ask for gets its answer, however
    many connections somebody else keeps open.
    """

    parser_class = AnsweringParser
    requests: list[HTTPRequestParser]
    requests_lock: threading.Lock
    request_seconds = REQUEST_SECONDS
    idle_seconds = IDLE_SECONDS

    def __init__(self, server: Any, *args: Any, **kwargs: Any) -> None:
        self._request_started: float | None = None
        super().__init__(server, *args, **kwargs)
        channels = list(server.active_channels.values())
        _make_room(channels, self, most=max_connections())

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered, or an answer is on its way."""
        return bool(self.requests) or self.total_outbufs_len > 0

    def received(self, data: bytes) -> bool:
        """Take bytes in, and note when a request began."""
        accepted = super().received(data)
        if self.request is None:
            self._request_started = None
        elif self._request_started is None:
            self._request_started = time.monotonic()
        return accepted

    def readable(self) -> bool:
        """Return whether to read; the server asks at least once a second."""
        if not (self.is_busy or self.will_close or self.close_when_flushed):
            started = self._request_started
            limit = time.monotonic() - self.request_seconds
            if started is not None and started < limit:
                self._refuse_request()
        if not self.requests and time.time() - self.last_activity > self.idle_seconds:
            self.will_close = True
        return super().readable()

    def _refuse_request(self) -> None:
        """Answer a request as it is, as the parser does with one that is malformed."""
        with self.requests_lock:
            request = self.request or AnsweringParser(self.adj)
            request.error = RequestTimeout(
                f"the request was not complete after {self.request_seconds:g} seconds"
            )
            request.completed = True
            self.request = None
            self.requests.append(request)
            self._request_started = None
            self.server.add_task(self)  # type: ignore[arg-type] # the stubs are wrong


def max_connections() -> int:
    """Return how many connections to keep: half of what the system allows at most."""
    try:
        import resource
    except ImportError:  # not on every system
        return MAX_CONNECTIONS
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, allowed // 2))


def _make_room(
    channels: Sequence[HTTPChannel], newest: HTTPChannel, *, most: int
) -> None:
    """Close the most silent connections beyond `most`, but no busy one."""
    idle = [
        channel
        for channel in channels
        if isinstance(channel, TimedChannel)
        and channel is not newest
        and not (channel.is_busy or channel.will_close)
    ]
    idle.sort(key=lambda channel: channel.last_activity)
    for channel in idle[: max(0, len(channels) - most)]:
        channel.will_close = True  # by the loop that calls us, when it is done here
