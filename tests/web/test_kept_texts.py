"""Texts that a run stored: prompts on its pages where no data set is at hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import safebench
from safebench.cli import cli
from safebench.errors import DataError
from safebench.plugins import Plugins
from safebench.results.stored_texts import read_texts, text_files
from safebench.web.app import create_app
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.testing import FlaskClient

    Read = Callable[..., Any]

HOSTILE = "<script>alert(1)</script>\u202e attack"
ROWS = [
    {"id": "a", "prompt": HOSTILE, "label": 1},
    {"id": "b", "prompt": "Where do ducks sleep?\r\nAnd swans?", "label": 0},
    {"id": "c", "prompt": "hi", "label": 0},
]
PAGE = "/runs/kept/predictions/keyword/mine.jsonl.all/score.jsonl"


@pytest.fixture
def kept(client: FlaskClient, tmp_path: Path) -> Path:
    """Run a guard on a file with `--keep-text`, and take the file away."""
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    run("--keep-text")
    file.rename(tmp_path / "gone.jsonl")
    return tmp_path / "runs/kept"


def run(*words: str) -> str:
    """Run the keyword guard into runs/kept; return what was said."""
    command = ["run", "-c", "keyword", "-d", "mine.jsonl", "--out", "runs/kept", *words]
    result = CliRunner().invoke(cli, command, obj=Plugins())
    assert 0 == result.exit_code, result.output
    return result.output


def test_prompts_are_shown_without_the_data_set(
    client: FlaskClient, kept: Path, read_page: Read
) -> None:
    """With whose they are; hostile ones stay text; search finds them."""
    page = read_page(client.get(f"{PAGE}?texts=shown"))

    assert "<script>alert(1)</script>U+202E attack" in page.text()
    assert "script" not in page.names
    assert "not at hand" not in page.text()
    assert "stored in the run folder; licences of the data: mine.jsonl" in page.text()
    found = read_page(client.get(f"{PAGE}?q=swans"))
    assert "1 prediction," in found.text()
    assert "texts in the folder" in read_page(client.get("/runs/kept")).text()


def test_the_manifest_says_so_and_the_command_too(kept: Path) -> None:
    """How many, and under which licence."""
    manifest = json.loads((kept / "manifest.json").read_text("utf-8"))

    assert {"mine.jsonl:all": {"samples": 3, "licence": "not known"}} == (
        manifest["texts"]
    )
    texts = [text for path in text_files(kept) for text in read_texts(path)]
    assert {"a", "b", "c"} == {text.sample.id for text in texts}
    assert "label" not in "".join(p.read_text("utf-8") for p in text_files(kept))


def test_without_the_option_no_text_is_stored(
    client: FlaskClient, tmp_path: Path, read_page: Read
) -> None:
    """Not in any file of the folder; and no manifest or configuration mentions any."""
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), "utf-8")
    assert "texts are stored" not in run()
    folder = tmp_path / "runs/kept"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [p for p in files if b"ducks" in p.read_bytes()]
    assert not (folder / "texts").exists()
    assert "texts" not in json.loads((folder / "manifest.json").read_text("utf-8"))
    assert "keep_text" not in (folder / "config.yaml").read_text("utf-8")


def test_texts_stay_when_the_command_is_repeated_without_the_option(
    client: FlaskClient, kept: Path, read_page: Read, tmp_path: Path
) -> None:
    """And samples that joined since are read from their data set."""
    (tmp_path / "gone.jsonl").rename(tmp_path / "mine.jsonl")
    with (tmp_path / "mine.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "d", "prompt": "a late goose", "label": 0}) + "\n")
    run()

    page = read_page(client.get(f"{PAGE}?texts=shown"))
    assert "a late goose" in page.text()
    assert "ducks" in page.text()
    (tmp_path / "mine.jsonl").unlink()
    state = AppState(plugins=Plugins(), runs=(str(kept),))
    later = create_app(state).test_client()
    page = read_page(later.get(f"{PAGE}?texts=shown"))
    assert "ducks" in page.text()
    assert "1 of 4 prompts of this page are not at hand" in page.text()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("ducks", "geese", "has another text than the run judged"),
        ('"turns"', '"turn"', "is no text of a sample"),
        ('"target": ', '"target": "x", "was": ', "is no text of a sample"),
        ("Where do", "Where do\\ud800", "has another text"),
    ],
)
def test_texts_that_were_edited_are_not_shown(
    client: FlaskClient, kept: Path, read_page: Read, old: str, new: str, says: str
) -> None:
    """A page must not show a text that no guard judged; it says what is wrong."""
    (path,) = text_files(kept)
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")

    with pytest.raises(DataError, match=says):
        list(read_texts(path))
    page = read_page(client.get(f"{PAGE}?texts=shown"))
    assert "geese" not in page.text()
    assert says in page.text()


def test_a_folder_can_be_copied_elsewhere(
    client: FlaskClient, kept: Path, read_page: Read, tmp_path: Path
) -> None:
    """As to a colleague, who has no data set and no plugin that reads it."""
    elsewhere = tmp_path / "elsewhere" / "kept"
    shutil.copytree(kept, elsewhere)
    state = AppState(plugins=Plugins([]), runs=(str(elsewhere),))

    page = read_page(create_app(state).test_client().get(f"{PAGE}?texts=shown"))

    assert "ducks" in page.text()


@pytest.mark.slow
def test_calls_from_python_keep_texts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a keyword of the option's name."""
    monkeypatch.chdir(tmp_path)
    Path("mine.jsonl").write_text(json.dumps(ROWS[1]) + "\n", "utf-8")

    run_ = safebench.run("keyword", datasets="mine.jsonl", keep_text=True, out="run")

    assert run_ is not None
    (path,) = text_files(Path("run"))
    (text,) = read_texts(path)
    assert "Where do ducks sleep?\r\nAnd swans?" == text.sample.turns[0].text
