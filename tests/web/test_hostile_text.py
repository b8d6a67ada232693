"""Hostile text is text: it changes no tag, hides nothing and comes back unharmed."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safebench.sanitize import is_hidden, text_segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from flask.testing import FlaskClient

    Read = Callable[..., Any]

HOSTILE = [
    "<script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</title></style><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- --><![CDATA[x]]>&lt;b&gt;&amp;",
    "javascript:alert(1)",
    "\n\nleading line ends",
    "a\u2028b\u2029c",
]
BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["prompt", "response"])
def test_no_text_changes_the_page(
    client: FlaskClient, read_page: Read, text: str, field: str
) -> None:
    """The page has the very tags that it has for harmless text; the text is in it."""
    fields = {"prompt": "x", "response": "x", "classifier": "keyword"}

    plain = read_page(client.post("/", data=fields))
    page = read_page(client.post("/", data=fields | {field: text}))

    shown = [n for n, a in page.tags if a.get("class") != "code"]
    assert plain.names == shown
    assert text == page.text_areas[0 if field == "prompt" else 1]
    assert all(not name.startswith("on") for _, a in page.tags for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["classifier", "strategy"])
def test_no_name_changes_the_page(
    client: FlaskClient, read_page: Read, text: str, field: str
) -> None:
    """A refused name is repeated in the message as text."""
    response = client.post("/", data={"prompt": "x", field: text})
    plain = client.post("/", data={"prompt": "x", field: "nobody"})

    shown = [n for n, a in read_page(response).tags if a.get("class") != "code"]
    assert 400 == response.status_code
    assert read_page(plain).names == shown


@pytest.mark.slow
def test_no_address_changes_the_page(client: FlaskClient, read_page: Read) -> None:
    """Nor do paths and parameters."""
    text = "%3Cscript%3Ealert(1)%3C/script%3E"

    for path in (f"/runs/{text}", f"/?prompt={text}", f"/{text}", f"/runs/?{text}"):
        assert "script" not in read_page(client.get(path)).names, path


@pytest.mark.slow
def test_bidirectional_controls_are_shown_by_code(
    client: FlaskClient, read_page: Read
) -> None:
    """Every control is named, and what was judged is opened without being asked."""
    text = "safe".join(BIDI)

    page = read_page(client.post("/", data={"prompt": text, "classifier": "keyword"}))

    codes = [f"U+{ord(char):04X}" for char in BIDI]
    assert codes == [t for t, a in zip(
        page.texts["span"], page.all("span"), strict=True
    ) if a.get("class") == "code"]  # fmt: skip
    assert any("judged" == d["class"] and "open" in d for d in page.all("details"))
    assert not any(char in page.texts["blockquote"][0] for char in BIDI)
    assert text == page.text_areas[0]


@pytest.mark.slow
def test_hidden_letters_of_the_model_are_shown_by_code(
    client: FlaskClient, read_page: Read
) -> None:
    """What a model writes is hostile, too: an escape sequence becomes ESC."""
    page = read_page(client.post("/", data={"prompt": "x", "classifier": "mute"}))

    assert "ESC" in page.texts["blockquote"][-1]
    assert "\x1b" not in page.markup


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", ["a", "U+202E", "b"]),
        ("\x00\x1b\r", ["NUL", "ESC", "CR"]),
        ("one\ttwo\nthree", ["one\ttwo\nthree"]),
        ("\u200b\u200b", ["U+200B", "U+200B"]),
        ("\U000e0041", ["U+E0041"]),
        ("\ud800", ["U+D800"]),
        ("\u3164x\u2800", ["U+3164", "x", "U+2800"]),
        ("naïve 漢字 🙂 שלום", ["naïve 漢字 🙂 שלום"]),
        ("", []),
    ],
)
def test_what_hides_is_told_from_what_shows(text: str, shown: list[str]) -> None:
    """Controls, formats, tags and blanks are named; letters of any script are kept."""
    assert shown == [part.text for part in text_segments(text)]


def test_white_space_of_tokens_is_spelled() -> None:
    """A token that is a line end must be seen."""
    assert ["↵↵␣S⇥"] == [
        part.text for part in text_segments("\n\n S\t", show_whitespace=True)
    ]


@pytest.mark.slow
@given(st.text())
def test_nothing_is_lost_and_nothing_hides(text: str) -> None:
    """Stretches give the text back; none holds a control or an override."""
    parts = text_segments(text)

    plain = "".join(part.text for part in parts if not part.name)
    assert [c for c in text if not is_hidden(c)] == list(plain)
    assert sum(map(is_hidden, text)) == sum(bool(part.name) for part in parts)
    overrides = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN"}
    kept = {unicodedata.bidirectional(char) for char in plain}
    assert set() == kept & overrides


def test_hostile_runs_are_text(
    client: FlaskClient, read_page: Read, make_run: Callable[..., Path]
) -> None:
    """Names, notes, ids and raw text of a run folder come from strangers."""
    bad = "<script>alert(1)</script>\u202e"
    rows = [
        {"metric": "auroc", "value": 0.5, "classifier": bad, "model": bad, "note": bad,
         "strategy": bad, "dataset": bad},
    ]  # fmt: skip
    line = {"id": bad, "part": "test", "score": 0.1, "decision": True, "label": False,
            "error": bad, "raw": bad, "uncertainty": None}  # fmt: skip
    make_run("<b>run\u202e", rows, [line])

    listing = read_page(client.get("/runs/"))
    (link,) = [a["href"] for a in listing.all("a") if "run" in (a["href"] or "")[6:]]
    table = read_page(client.get(link))
    (file,) = [a["href"] for a in table.all("a") if (a["href"] or "").endswith("jsonl")]
    lines = read_page(client.get(file))

    for page in (listing, table, lines):
        assert not {"script", "b"} & set(page.names)
        assert "\u202e" not in page.text()
    assert "<script>alert(1)</script>" in lines.text()
