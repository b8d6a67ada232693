"""The web application: what all of its pages share.

Error pages, what templates may call, and protection from other web sites: host and
origin checks, and strict headers.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, Response, abort, render_template, request
from werkzeug.exceptions import HTTPException

from safebench.errors import SafebenchError
from safebench.sanitize import has_hidden, text_segments
from safebench.score.result import format_number, format_score, format_threshold

from . import runs_page, score_page
from .browsed_runs import without_form, without_surrogates
from .score_page import MAX_FORM_BYTES, to_percent

if TYPE_CHECKING:
    from collections.abc import Collection

    from .state import AppState


STATUS_MESSAGES = {
    400: "The request cannot be read.",
    404: "There is no such page.",
    405: "This page does not take that kind of request.",
    413: f"That is too much: a form may have {MAX_FORM_BYTES // 2**20} MiB.",
    500: "Something broke; the terminal that serves this page says what.",
}
CUSTOM_STATUSES = frozenset({400, 403, 404, 421})  # `abort` is called with a reason
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


class PageResponse(Response):
    """A response whose text may hold what UTF-8 cannot: names and texts of others."""

    def set_data(self, value: bytes | str) -> None:
        """Set the body; surrogates are written as escapes."""
        super().set_data(without_surrogates(value) if isinstance(value, str) else value)


class SafebenchApp(Flask):
    """The application, with responses that can always be written."""

    response_class = PageResponse
    jinja_options = {"trim_blocks": True, "lstrip_blocks": True}


def create_app(state: AppState) -> Flask:
    """Return the application that serves a site."""
    app = SafebenchApp(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_FORM_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_FORM_BYTES
    app.jinja_env.globals |= {
        "text_segments": text_segments,
        "has_hidden": has_hidden,
    }
    app.jinja_env.filters["format_number"] = format_number
    app.jinja_env.filters["format_score"] = format_score
    app.jinja_env.filters["format_threshold"] = format_threshold
    app.jinja_env.filters["to_percent"] = to_percent
    app.jinja_env.filters["without_form"] = without_form
    app.register_blueprint(score_page.score_blueprint(state))
    app.register_blueprint(runs_page.runs_blueprint(state))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(SafebenchError, _user_error)
    add_security(app, state.hosts)
    return app


def _http_error(error: HTTPException) -> tuple[str, int]:
    status = error.code or 500
    text = STATUS_MESSAGES.get(status, "")
    # An error raised by the framework has the description of its class, which speaks
    # to programmers; one raised by a page says what is wrong.
    default = type(error).description
    if status in CUSTOM_STATUSES and error.description and default is not None:
        text = error.description if error.description != default else text
    return _error_page(status, text or str(error.description)), status


def _user_error(error: SafebenchError) -> tuple[str, int]:
    return _error_page(400, error.message), 400


def _error_page(status: int, text: str) -> str:
    return render_template(
        "error.html", status=status, phrase=HTTPStatus(status).phrase, message=text
    )


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
