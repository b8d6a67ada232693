"""Other web sites can neither read the page nor send its form."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import safebench.web
from safebench.web.app import create_app, host_name
from safebench.web.state import AppState

if TYPE_CHECKING:
    from typing import Any

    from flask.testing import FlaskClient

    from safebench.plugins import Plugins

WEB = Path(safebench.web.__file__).parent


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8642", 200),
        ("localhost:8642", 200),
        ("LOCALHOST", 200),
        ("localhost.", 200),
        ("[::1]:8642", 200),
        ("192.168.1.7:8642", 200),
        (socket.gethostname(), 200),
        ("evil.example", 421),
        ("evil.example:8642", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("a@localhost:b", 421),
    ],
)
def test_the_page_answers_to_its_own_names(
    client: FlaskClient, host: str, status: int
) -> None:
    """A name that was rebound to this machine gets a refusal; digits cannot be."""
    assert status == client.get("/", headers={"Host": host}).status_code


def test_another_name_can_be_allowed(odd_guards: Plugins) -> None:
    """For those who serve it under a name of their own."""
    client = create_app(
        AppState(plugins=odd_guards, hosts=("Guard.Example",))
    ).test_client()

    assert 200 == client.get("/", headers={"Host": "guard.example:80"}).status_code
    assert 421 == client.get("/", headers={"Host": "other.example"}).status_code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_forms_of_other_sites_are_refused(
    client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    """Only the page itself, or no page at all, may ask for a judgement."""
    fields = {"prompt": "x", "classifier": "keyword"}

    assert status == client.post("/", data=fields, headers=headers).status_code


@pytest.mark.parametrize(
    "origin",
    ["http://[", "http://]", "http://[x]:1", "http://[::1", "//[v1.x", "http://a]b"],
)
def test_an_origin_that_is_no_address_is_a_bad_request(
    client: FlaskClient, read_page: Any, origin: str
) -> None:
    """400 with a reason: neither this site nor another one sends that."""
    fields = {"prompt": "x", "classifier": "keyword"}

    response = client.post("/", data=fields, headers={"Origin": origin})

    assert 400 == response.status_code
    assert "Origin is no address" in read_page(response).text()


@pytest.mark.parametrize("path", ["/", "/runs/", "/nowhere", "/static/style.css"])
def test_every_answer_has_strict_headers(client: FlaskClient, path: str) -> None:
    """No scripts, no frames, no guessing of types, errors and files included."""
    response = client.get(path)

    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe-inline" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "nosniff" == response.headers["X-Content-Type-Options"]
    response.close()


def test_pages_keep_to_their_policy(client: FlaskClient, read_page: Any) -> None:
    """No style in a tag, no handler, nothing from elsewhere."""
    fields = {"prompt": "attack", "classifier": "keyword"}

    for response in (client.get("/"), client.post("/", data=fields)):
        match = read_page(response)
        assert not {"style", "script", "iframe"} & set(match.names)
        for _, attrs in match.tags:
            assert "style" not in attrs
            for name in ("src", "href", "action"):
                assert (attrs.get(name) or "/")[0] in "/#"


def test_templates_switch_no_escaping_off() -> None:
    """Nothing is marked as safe markup, in a template or in Python."""
    files = [*WEB.glob("templates/*.html"), *WEB.glob("*.py")]

    assert 8 < len(files)
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape|Markup\(", text), file.name


@pytest.mark.parametrize(
    ("header", "name"),
    [("A.b:1", "a.b"), ("[::1]:2", "::1"), ("x.", "x"), ("[", ""), ("", "")],
)
def test_host_headers_are_read_as_names(header: str, name: str) -> None:
    """Lower-case, without port, brackets and final dot; nonsense is no name."""
    assert name == host_name(header)


def test_the_colours_can_be_read() -> None:
    """Text has a contrast of 4.5 to 1 on its ground, light and dark (WCAG 2.2, AA)."""
    css = (WEB / "static" / "style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = {}
    for name, block in (("light", light), ("dark", dark)):
        match = dict(re.findall(r"--([\w-]+): (#\w{6});", block))
        colours[name] = {key: _luminance(value) for key, value in match.items()}

    pairs = [("ink", "back"), ("dim", "back"), ("accent", "back"), ("good", "back"),
             ("bad", "back"), ("warn", "back"), ("ink", "field"), ("dim", "rail"),
             ("on-accent", "accent"), ("warn", "warn-soft"),
             ("ink", "warn-soft")]  # fmt: skip
    for scheme, match in colours.items():
        for front, back in pairs:
            assert 4.5 <= _contrast(match[front], match[back]), (scheme, front, back)
        assert 3.0 <= _contrast(match["edge"], match["field"]), scheme


def _luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
    ]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)
