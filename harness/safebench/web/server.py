"""Serve the application on this machine."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

from safebench.errors import SafebenchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask

THREADS = 4
LARGEST = 64 * 2**20  # bytes read before a request is refused; less would cut it off


class AddressError(SafebenchError):
    """The address cannot be served on."""


def serve(app: Flask, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until interrupted; `say` is told the address once it can be opened.

    Port 0 takes any free one. Raises `AddressError` if the address is taken.
    """
    from waitress.server import create_server

    with listening(host, port) as listener:
        server = create_server(
            app,
            sockets=[listener],
            threads=THREADS,
            max_request_body_size=LARGEST,
            ident="safebench",
        )
        say(f"http://{_written(host)}:{listener.getsockname()[1]}/")
        try:
            server.run()
        finally:
            server.close()


def listening(host: str, port: int) -> socket.socket:
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


def _written(host: str) -> str:
    """Return a host as addresses are written: IPv6 in brackets, any as this machine."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
