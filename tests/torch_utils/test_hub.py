"""Folders and hub ids: told apart, suggested, and fetched or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("huggingface_hub", reason="its client fetches models")
import huggingface_hub
import huggingface_hub.errors

from safebench.errors import ModelError
from safebench.torch_utils.hub import (
    ModelFolder,
    download_snapshot,
    hub_failure,
    is_path,
    suggest_sibling,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "expected"),
    [("bert", False), ("org/bert", False), ("./bert", True), ("~/bert", True),
     ("/bert", True), ("a/b/c", True)],
)  # fmt: skip
def test_paths_are_told_from_hub_ids(name: str, expected: bool) -> None:
    """A hub id has one slash at most, and starts with a letter."""
    assert expected == is_path(name)


def test_the_nearest_sibling_is_suggested(tmp_path: Path) -> None:
    """A typing error in a folder's name gets its neighbour, a wrong parent nothing."""
    (tmp_path / "tiny-bert").mkdir()

    assert "'tiny-bert'" in suggest_sibling(tmp_path / "tiny-bort")
    assert "" == suggest_sibling(tmp_path / "nowhere" / "tiny-bert")


def test_pickled_weights_are_fetched_where_there_are_no_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first request is for safetensors alone; a second one only if it had none."""
    requests: list[list[str]] = []

    def snapshot(name: str, *, allow_patterns: list[str], **_: object) -> str:
        requests.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)

    assert tmp_path == download_snapshot("org/old")
    (tmp_path / "model.safetensors").touch()
    download_snapshot("org/new")

    weights = [patterns[-1] for patterns in requests]
    assert ["*.safetensors", "pytorch_model*.bin", "*.safetensors"] == weights


def test_what_the_hub_says_becomes_a_few_words() -> None:
    """Being offline is told apart from anything else, which is quoted in one line."""
    offline = huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    assert "cannot be reached" in hub_failure(offline)
    assert "(no route to host)" in hub_failure(OSError("no route\nto host"))


def test_a_model_is_a_folder_or_refused_with_what_would_work(tmp_path: Path) -> None:
    """A folder is taken as it is; a path that is none gets its neighbour or advice."""
    folder = tmp_path / "tiny-bert"
    folder.mkdir()

    assert ModelFolder(folder, "tiny-bert") == ModelFolder.find(str(folder))
    with pytest.raises(ModelError, match="no such folder; did you mean 'tiny-bert'"):
        ModelFolder.find(str(tmp_path / "tiny-bort"), advice="; name a folder")
    with pytest.raises(ModelError, match="no such folder; name a folder"):
        ModelFolder.find("./nowhere", advice="; name a folder")


def test_a_hub_that_has_no_model_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason stands behind the name, and the commit of a snapshot beside it."""

    def snapshot(name: str, **_: object) -> str:
        if name == "org/gone":
            raise OSError("no route\nto host")
        return "/cache/snapshots/abc"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)

    assert "abc" == ModelFolder.find("org/there").commit
    with pytest.raises(ModelError) as caught:
        ModelFolder.find("org/gone")
    assert "no such folder, and the hub did not give it" in caught.value.message
    assert "\n" not in caught.value.message
