"""The artifact of a training: reading its manifest, and folders that are refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError, RunFolderError
from safebench.training.artifact import (
    check_output_folder,
    read_artifact,
    wait_for_manifest,
    weights_hash,
    write_manifest,
)

if TYPE_CHECKING:
    from pathlib import Path

DONE = {"kind": "words", "status": "done", "trainer": "words", "members": ["a"]}


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """With the schema's version added, for one kind or one of several."""
    write_manifest(tmp_path, DONE)

    assert DONE | {"schema_version": 1} == read_artifact(tmp_path, "words")
    assert DONE | {"schema_version": 1} == read_artifact(str(tmp_path), {"x", "words"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no safebench.json: it is not from safebench train words"),
        ("{", "safebench.json cannot be read: "),
        ("[]", "safebench.json cannot be read: not a JSON object"),
        (
            {"kind": "cost_model"},
            "holds a model of cost_model, not words: say -c cost_model",
        ),
        ({"schema_version": 9}, "has schema 9; this version of safebench reads 1"),
        (
            {"status": "training"},
            "is unfinished: go on with safebench train words --res",
        ),
    ],
)
def test_an_unusable_folder_gives_one_line(
    tmp_path: Path, content: Any, message: str
) -> None:
    """Missing, broken, of another kind, newer or unfinished."""
    if isinstance(content, dict):
        content = json.dumps(DONE | {"schema_version": 1} | content)
    if content is not None:
        (tmp_path / "safebench.json").write_text(content)

    with pytest.raises(ModelError) as error:
        read_artifact(tmp_path, "words")

    assert message in error.value.message
    assert 1 == len(error.value.message.splitlines())


def test_a_folder_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    """The training command is named."""
    with pytest.raises(ModelError, match=r"no folder .*none: train one with safebench"):
        read_artifact(tmp_path / "none", "words")


def test_new_and_empty_folders_are_open(tmp_path: Path) -> None:
    """So is one with hidden files alone, such as a lock."""
    check_output_folder(tmp_path / "new", resume=False)
    (tmp_path / ".lock").touch()
    check_output_folder(tmp_path, resume=False)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """It is refused by name."""
    (tmp_path / "file").touch()

    with pytest.raises(RunFolderError, match="file is a file"):
        check_output_folder(tmp_path / "file", resume=True)


def test_all_differences_are_named_by_their_path(tmp_path: Path) -> None:
    """Nested values, keys that one side lacks; tuples and lists are alike."""
    identity = {"options": {"a": 1, "b": [1, 2]}, "seed": 0}
    write_manifest(tmp_path, DONE | {"identity": identity})
    (tmp_path / "weights.bin").touch()

    check_output_folder(
        tmp_path, resume=True, identity={"options": {"a": 1, "b": (1, 2)}, "seed": 0}
    )
    with pytest.raises(RunFolderError) as error:
        check_output_folder(
            tmp_path, resume=True, identity={"options": {"a": 2}, "seed": 0}
        )

    assert "options.a: 1 there, 2 asked for" in error.value.message
    assert "options.b: [1, 2] there, None asked for" in error.value.message
    assert "seed" not in error.value.message


def test_the_hash_follows_weights_and_their_names_alone(tmp_path: Path) -> None:
    """Other weights, another hash; notes and interrupted checkpoints do not count."""
    (tmp_path / "member").mkdir()
    weights = tmp_path / "member" / "model.safetensors"
    weights.write_bytes(b"abc")
    first = weights_hash(tmp_path)

    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "model.safetensors").write_bytes(b"x")
    same = weights_hash(tmp_path)
    weights.write_bytes(b"abd")
    changed = weights_hash(tmp_path)
    weights.rename(tmp_path / "member" / "other.safetensors")

    assert first == same
    assert 3 == len({first, changed, weights_hash(tmp_path)})


def test_waiting_for_a_main_process_that_failed_ends(tmp_path: Path) -> None:
    """Other processes do not wait for ever."""
    with pytest.raises(RunFolderError, match="main process wrote no"):
        wait_for_manifest(tmp_path, timeout=0.0)
