"""Serving the application on this machine."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

from safebench.errors import SafebenchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask


SERVER_THREADS = 4
# Waitress closes the connection of a longer request, and the browser shows no reason.
# So it takes more than a form may hold, and the application answers with a page.
MAX_REQUEST_BYTES = 64 * 2**20


class AddressError(SafebenchError):
    """The address cannot be served on."""


def serve(app: Flask, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `on_ready` gets the address once it can be opened.

    Port 0 takes any free one. Raises `AddressError` if the address is taken.
    """
    from waitress.server import create_server

    with open_listener(host, port) as listener:
        server = create_server(
            app,
            sockets=[listener],
            threads=SERVER_THREADS,
            max_request_body_size=MAX_REQUEST_BYTES,
            ident="safebench",
        )
        on_ready(f"http://{_url_host(host)}:{listener.getsockname()[1]}/")
        try:
            server.run()
        finally:
            server.close()


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
