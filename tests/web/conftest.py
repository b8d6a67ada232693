"""A site with odd guards and a run, used without a browser, and a page parser."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jinja2.bccache import Bucket, BytecodeCache

from safebench.plugins import ENTRY_POINT_GROUP, Plugins
from safebench.web.app import SafebenchApp, create_app
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

DISTRIBUTIONS = Path(__file__).parents[1] / "distributions"
VOID = frozenset({"meta", "link", "input", "br", "wbr"})
ROW = {
    "run": "tried",
    "classifier": "keyword",
    "model": "built-in words",
    "strategy": "score",
    "dataset": "mine",
    "split": "all",
    "task": "prompt_harm",
    "n": 4,
    "n_pos": 2,
    "n_neg": 2,
    "higher_is_better": True,
}


@dataclass
class Page(HTMLParser):
    """A page's tags in order, with attributes, and the text under each kind of tag."""

    markup: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(self.markup)
        self.close()
        assert [] == self.open, f"tags that were not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that is closed at once."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the last tag, which must be of that name."""
        assert tag == self.open.pop(), f"</{tag}> out of order"

    def handle_data(self, data: str) -> None:
        """Add text to every open tag."""
        for tag in set(self.open):
            self.texts[tag][-1] += data

    @property
    def names(self) -> list[str]:
        """The names of all tags, in order."""
        return [name for name, _ in self.tags]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all tags of a name."""
        return [attrs for name, attrs in self.tags if name == tag]

    def text(self, tag: str = "body") -> str:
        """Return the text of the first tag of a name, its white space folded."""
        return " ".join(self.texts[tag][0].split())

    @property
    def text_areas(self) -> list[str]:
        """The contents of text areas, without the line end after their tags."""
        return [text.removeprefix("\n") for text in self.texts.get("textarea", [])]


class CompiledTemplates(BytecodeCache):
    """Templates as they were compiled for another application of this process."""

    def __init__(self) -> None:
        self.by_key: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill in the code of a template, if its source is what it was."""
        if bucket.key in self.by_key:
            bucket.bytecode_from_string(self.by_key[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        self.by_key[bucket.key] = bucket.bytecode_to_string()


COMPILED = CompiledTemplates()


@pytest.fixture(autouse=True)
def compiled_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share compiled templates: each application compiles its own otherwise."""
    monkeypatch.setitem(SafebenchApp.jinja_options, "bytecode_cache", COMPILED)


@pytest.fixture
def odd_guards(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return what is installed, and the odd guards."""
    return _with_plugin("odd_guards", monkeypatch)


@pytest.fixture
def unruly(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return what is installed, and guards and strategies that misbehave."""
    return _with_plugin("unruly", monkeypatch)


def _with_plugin(name: str, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    monkeypatch.syspath_prepend(str(DISTRIBUTIONS / name))
    entry_point = EntryPoint(name, f"{name}.plugin", ENTRY_POINT_GROUP)
    return Plugins([*_installed(), entry_point])


@cache
def _installed() -> list[EntryPoint]:
    # to read them from all packages takes longer than most tests
    return [*entry_points(group=ENTRY_POINT_GROUP)]


@pytest.fixture
def client(
    odd_guards: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    """Return a client of a site that is served from an empty folder."""
    monkeypatch.chdir(tmp_path)
    return create_app(AppState(plugins=odd_guards)).test_client()


@pytest.fixture
def read_page() -> Callable[[TestResponse], Page]:
    """Parse the page of a response; its tags must nest."""

    def read(response: TestResponse) -> Page:
        return Page(response.get_data(as_text=True))

    return read


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder with rows (fields over `ROW`) and prediction lines."""

    def make(name: str, rows: list[dict[str, Any]], lines: Any = ()) -> Path:
        folder = tmp_path / "runs" / name
        predictions = folder / "predictions" / "keyword" / "mine.all"
        predictions.mkdir(parents=True)
        texts = [json.dumps(ROW | {"run": name} | row) for row in rows]
        (folder / "results.jsonl").write_text("\n".join(texts) + "\n", "utf-8")
        lines_text = "".join(json.dumps(line) + "\n" for line in lines)
        (predictions / "score.jsonl").write_text(lines_text, "utf-8")
        return folder

    return make
