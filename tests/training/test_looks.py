"""Each evaluation of a test part leaves a mark, and knows of the earlier ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from safebench.training import Artifact
from safebench.training.looks import LOOKS_FILE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache of this test."""
    monkeypatch.setenv("SAFEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def folder(path: Path) -> Artifact:
    """Return a new folder's artifact."""
    path.mkdir()
    return Artifact(path)


def test_looks_are_counted_across_trainings_on_the_same_rows(tmp_path: Path) -> None:
    """An unregistered look from another folder counts, one at other rows does not."""
    first, second = folder(tmp_path / "first"), folder(tmp_path / "second")

    none = first.record_look("rows", {"registration": None, "training": "a"})
    first.record_look("others", {"registration": None})
    one = second.record_look("rows", {"registration": "r", "training": "b"})
    two = first.record_look("rows", {"registration": "r", "training": "a"})

    assert [0, 1, 2] == [looks["number"] for looks in (none, one, two)]
    assert "no earlier look at this test part is known here" == none["summary"]
    assert [("a", None), ("b", "r")] == [
        (look["training"], look["registration"]) for look in two["earlier"]
    ]
    assert two["summary"].startswith(
        "2 earlier looks at this test part, 1 without a registration, the last "
    )
    assert all(look["time"] for look in two["earlier"])


def test_the_marks_of_a_folder_move_with_it(tmp_path: Path, cache: Path) -> None:
    """Another machine has another cache; a mark in both is one look."""
    artifact = folder(tmp_path / "a")
    artifact.record_look("rows", {"registration": None})
    for path in (cache / "looks").iterdir():
        path.unlink()

    assert 1 == artifact.record_look("rows", {"registration": None})["number"]
    assert 2 == artifact.record_look("rows", {"registration": None})["number"]


def test_a_damaged_mark_is_a_look_all_the_same(tmp_path: Path) -> None:
    """What an interruption left of a line counts, and joins no other line."""
    artifact = folder(tmp_path / "a")
    artifact.record_look("rows", {"registration": None})
    with (artifact.folder / LOOKS_FILE).open("ab") as file:
        file.write(b'{"id": "x", "ti')

    assert 2 == artifact.record_look("rows", {"registration": None})["number"]
    looks = artifact.record_look("rows", {"registration": None})
    assert 3 == looks["number"]
    assert "cannot be read" in json.dumps(looks["earlier"])


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, cache: Path
) -> None:
    """The mark of the folder has to be: without it there is no look."""
    cache.write_text("a file")
    artifact = folder(tmp_path / "a")
    artifact.record_look("rows", {"registration": None})
    assert 1 == artifact.record_look("rows", {"registration": None})["number"]

    with pytest.raises(OSError, match="looks"):
        Artifact(tmp_path / "missing").record_look("rows", {"registration": None})
