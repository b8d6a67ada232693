"""The web application: its pages, its error pages, and what templates may call."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Flask, Response, render_template
from werkzeug.exceptions import HTTPException

from safebench.errors import SafebenchError
from safebench.score.result import format_number, format_score, format_threshold

from . import runs_page, score_page
from .browsed_runs import without_surrogates
from .hidden_characters import has_hidden, text_segments
from .score_drawing import to_percent
from .score_page import MAX_FORM_BYTES
from .security import add_security

if TYPE_CHECKING:
    from .state import AppState


STATUS_MESSAGES = {
    400: "The request cannot be read.",
    404: "There is no such page.",
    405: "This page does not take that kind of request.",
    413: f"That is too much: a form may have {MAX_FORM_BYTES // 2**20} MiB.",
    500: "Something broke; the terminal that serves this page says what.",
}
CUSTOM_STATUSES = frozenset({400, 403, 404, 421})  # `abort` is called with a reason


class PageResponse(Response):
    """A response whose text may hold what UTF-8 cannot: names and texts of others."""

    def set_data(self, value: bytes | str) -> None:
        """Set the body; surrogates are written as escapes."""
        super().set_data(without_surrogates(value) if isinstance(value, str) else value)


class SafebenchApp(Flask):
    """The application, with responses that can always be written."""

    response_class = PageResponse


def create_app(state: AppState) -> Flask:
    """Return the application that serves a site."""
    app = SafebenchApp(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_FORM_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_FORM_BYTES
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.globals |= {
        "text_segments": text_segments,
        "has_hidden": has_hidden,
    }
    app.jinja_env.filters["format_number"] = format_number
    app.jinja_env.filters["format_score"] = format_score
    app.jinja_env.filters["format_threshold"] = format_threshold
    app.jinja_env.filters["to_percent"] = to_percent
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
