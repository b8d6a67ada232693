"""Serving the application on this machine."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import sys
from typing import TYPE_CHECKING

from safebench.console import echo
from safebench.errors import SafebenchError
from safebench.isolation import describe_error

from .state import MAX_HELD_REQUESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from waitress.server import BaseWSGIServer


SERVER_THREADS = 2 * MAX_HELD_REQUESTS
# Waitress closes the connection of a longer request, and the browser shows no reason.
# So it takes more than a form may hold, and the application answers with a page.
MAX_REQUEST_BYTES = 64 * 2**20
# Of an answer that its reader does not take: beyond it, a thread would wait for him.
MAX_UNREAD_BYTES = 2**30


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

    from .connections import TimedChannel, max_connections

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
