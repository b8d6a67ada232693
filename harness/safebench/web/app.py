"""The web application: pages, errors as pages, and what templates may call."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Flask, render_template
from werkzeug.exceptions import HTTPException

from safebench.asking.scale import number
from safebench.errors import SafebenchError

from . import browsing, judging
from .form import MOST_BYTES
from .picture import per_cent
from .protection import protect
from .visible import hides, visible

if TYPE_CHECKING:
    from .site import Site

ADVICE = {
    400: "The request cannot be read.",
    404: "There is no such page.",
    405: "This page does not take that kind of request.",
    413: f"That is too much: a form may have {MOST_BYTES // 2**20} MiB.",
    500: "Something broke; the terminal that serves this page says what.",
}
OWN = frozenset({403, 404, 421})  # their descriptions are ours


def create_app(site: Site) -> Flask:
    """Return the application of a site."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = MOST_BYTES
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.globals |= {"visible": visible, "hides": hides}
    app.jinja_env.filters["number"] = number
    app.jinja_env.filters["per_cent"] = per_cent
    app.register_blueprint(judging.pages(site))
    app.register_blueprint(browsing.pages(site))
    app.register_error_handler(HTTPException, _refusal)
    app.register_error_handler(SafebenchError, _mistake)
    protect(app, site.hosts)
    return app


def _refusal(error: HTTPException) -> tuple[str, int]:
    status = error.code or 500
    text = ADVICE.get(status, "")
    if status in OWN and error.description and type(error).description is not None:
        changed = error.description != type(error).description
        text = error.description if changed else text
    return _page(status, text or str(error.description)), status


def _mistake(error: SafebenchError) -> tuple[str, int]:
    return _page(400, error.message), 400


def _page(status: int, text: str) -> str:
    return render_template(
        "error.html", status=status, phrase=HTTPStatus(status).phrase, message=text
    )
