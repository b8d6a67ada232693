"""Protection from other web sites: host and origin checks, and strict headers."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import abort, request

if TYPE_CHECKING:
    from collections.abc import Collection

    from flask import Flask, Response

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: a form would then be sent with the origin "null"
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_HOST_PATTERN = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[\w.-]+))(?::\d*)?"
)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def add_security(app: Flask, hosts: Collection[str]) -> None:
    """Refuse requests for other host names and from other sites; add the headers.

    Against DNS rebinding: a page elsewhere whose name is made to point to this machine
    sends that name as Host. An IP address cannot be rebound, and is always accepted.
    """
    known = {"localhost", socket.gethostname().casefold(), *map(str.casefold, hosts)}

    def check() -> None:
        host = host_name(request.headers.get("Host", ""))
        if host not in known and not _is_address(host):
            abort(421, _unknown_host(host))
        if request.method not in _SAFE_METHODS and not _same_site():
            abort(403, "this form was sent by another site")

    def harden(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers[name] = value
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    app.before_request(check)
    app.after_request(harden)


def _unknown_host(host: str) -> str:
    if not host:
        return "this page was asked for by no name"
    way = f"whoever serves it can allow that: safebench serve --allow-host {host}"
    return f"this page is not called {host!r}; {way}"


def host_name(host: str) -> str:
    """Return the name in a Host header: lower-case, without port, brackets or dot."""
    match = _HOST_PATTERN.fullmatch(host.casefold())
    return (match["address"] or match["name"]).rstrip(".") if match else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same_site() -> bool:
    """Return whether a request comes from this site, or from no page at all."""
    origin = request.headers.get("Origin")
    if origin is not None:
        try:
            return urlsplit(origin).netloc.casefold() == request.host.casefold()
        except ValueError:
            abort(400, f"the header Origin is no address: {origin!r:.100}")
    return request.headers.get("Sec-Fetch-Site", "none") in {"same-origin", "none"}
