"""What is learnt on a base knows it by content, and not by its name."""

from __future__ import annotations

import hashlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError
from safebench.torch_utils import ModelFolder, base_model

if TYPE_CHECKING:
    from pathlib import Path


def sha256(content: bytes) -> str:
    """Return what `sha256sum` prints."""
    return hashlib.sha256(content).hexdigest()


def model(folder: Path, **changes: bytes | None) -> ModelFolder:
    """Return a folder with files; those that are None are left out."""
    files: dict[str, bytes | None] = {
        "model.safetensors": b"weights",
        "config.json": b'{"hidden_size": 2, "layers": 1}',
        "tokenizer.json": b'{"model": {}}',
    }
    files |= {name.replace("__", "."): content for name, content in changes.items()}
    folder.mkdir(parents=True)
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return ModelFolder(folder, folder.name)


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    """One file of weights has the hash that anybody can compute of it."""
    record = model(tmp_path / "base").base_record()

    assert ("base", "") == (record["name"], record["revision"])
    assert sha256(b"weights") == record["hashes"]["weights"]
    assert sha256(b'{"model": {}}') == record["hashes"]["tokenizer"]


def test_shards_are_hashed_in_their_order_and_nothing_else(tmp_path: Path) -> None:
    """Optimizer states and second copies beside them are not weights of the base."""
    index = {"weight_map": {"b": "model-2.safetensors", "a": "model-1.safetensors"}}
    base = model(
        tmp_path / "base",
        model__safetensors=None,
        optimizer__pt=b"state",
    )
    (base.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for number in (1, 2, 3):
        (base.folder / f"model-{number}.safetensors").write_bytes(b"%d" % number)

    expected = sha256("\n".join([sha256(b"1"), sha256(b"2")]).encode())
    assert expected == base.base_record()["hashes"]["weights"]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model__safetensors": b"others"}, "weights"),
        ({"config__json": b'{"hidden_size": 3, "layers": 1}'}, "config"),
        ({"tokenizer__json": b'{"model": {"a": 1}}'}, "tokenizer"),
        ({"tokenizer__json": None}, "tokenizer"),
    ],
    ids=["weights", "config", "tokenizer", "no-tokenizer"],
)
def test_another_base_is_refused_with_both_hashes(
    changes: dict[str, Any], part: str, tmp_path: Path
) -> None:
    """Of the same name, in another folder: the message says what differs."""
    stored = model(tmp_path / "a" / "base").base_record()
    other = model(tmp_path / "b" / "base", **changes)

    with pytest.raises(ModelError) as error:
        other.check_base(stored, "adapter x")

    message = error.value.message
    assert "\n" not in message
    assert f"adapter x was trained on base ({part} {stored['hashes'][part][:12]})" in (
        message
    )
    now = other.base_record()["hashes"].get(part, "unknown")[:12]
    assert f"base is another base ({part} {now})" in message


def test_a_copy_of_another_name_is_the_same_base(tmp_path: Path) -> None:
    """The order of a configuration, and what a library notes in it, do not count."""
    stored = model(tmp_path / "base").base_record()
    config = b'{"layers": 1, "hidden_size": 2, "transformers_version": "9", "dtype": 1}'
    copy = model(tmp_path / "copy", config__json=config)

    assert "" == copy.check_base(stored, "adapter x")


@pytest.mark.parametrize("hashes", [None, {}, {"config": "0"}, "abc"])
def test_a_base_without_hashes_is_unknown_and_said_to_be(
    hashes: Any, tmp_path: Path
) -> None:
    """Trainings of before there were hashes name their base, and no more."""
    base = model(tmp_path / "base")

    note = base.check_base({"name": "org/guard", "hashes": hashes}, "adapter x")

    assert "adapter x was trained on org/guard and does not say" in note
    assert "whether base is the same is unknown" in note


def test_weights_that_are_not_here_are_not_taken_for_the_same(tmp_path: Path) -> None:
    """A hub id of which the configuration alone is stored passes with a note."""
    stored = model(tmp_path / "base").base_record()
    small = model(tmp_path / "small", model__safetensors=None)

    assert "weights of small are not here" in small.check_base(stored, "adapter x")


def test_the_hub_cache_names_large_files_by_their_hash(tmp_path: Path) -> None:
    """They are not read again: a wrong name is what comes back."""
    blob = tmp_path / "blobs" / ("0123456789abcdef" * 4)
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    snapshot = tmp_path / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    git = blob.with_name("a" * 40)  # small files are named by another hash
    git.write_bytes(b"{}")
    (snapshot / "config.json").symlink_to(git)

    assert blob.name == ModelFolder.file_sha256(snapshot / "model.safetensors")
    assert sha256(b"{}") == ModelFolder.file_sha256(snapshot / "config.json")


def test_large_files_are_hashed_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A digest is remembered until size or time change, and read again then."""
    monkeypatch.setattr(base_model, "_CACHE_FROM_BYTES", 4)
    monkeypatch.setenv("SAFEBENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "weights"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1, 1))
    first = base_model.file_sha256(path)
    path.write_bytes(b"54321")

    os.utime(path, ns=(1, 1))
    assert first == base_model.file_sha256(path)
    os.utime(path, ns=(2, 2))
    assert first != base_model.file_sha256(path)


def test_the_digest_of_a_large_file_of_this_moment_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is written within the same tick of the clock has another digest."""
    monkeypatch.setattr(base_model, "_CACHE_FROM_BYTES", 4)
    monkeypatch.setenv("SAFEBENCH_CACHE", str(tmp_path / "cache"))
    path, moment = tmp_path / "weights", time.time_ns()
    for content in (b"12345", b"54321"):
        path.write_bytes(content)
        os.utime(path, ns=(moment, moment))
        assert sha256(content) == base_model.file_sha256(path)


def test_a_cache_that_cannot_be_written_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Hashing works without a place to remember in."""
    monkeypatch.setattr(base_model, "_CACHE_FROM_BYTES", 0)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SAFEBENCH_CACHE", str(tmp_path / "file"))

    assert sha256(b"") == base_model.file_sha256(tmp_path / "file")


TEMPLATE = b"{{ messages }}"


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"chat_template__jinja": TEMPLATE + b"\n"}, "chat_template"),
        ({"chat_template__jinja": None}, "chat_template"),
        ({"tokenizer_config__json": b'{"add_bos_token": false}'}, "tokenizer_config"),
        ({"special_tokens_map__json": b'{"eos_token": "x"}'}, "tokenizer_config"),
    ],
    ids=["template", "no-template", "settings", "special-tokens"],
)
def test_the_same_weights_under_another_template_are_refused(
    changes: dict[str, Any], part: str, tmp_path: Path
) -> None:
    """The network would read other texts; what differs, and what to copy, is said."""
    before = {
        "chat_template__jinja": TEMPLATE,
        "tokenizer_config__json": b'{"add_bos_token": true}',
    }
    stored = model(tmp_path / "a" / "base", **before).base_record()
    other = model(tmp_path / "b" / "base", **before | changes)

    with pytest.raises(ModelError) as error:
        other.check_base(stored, "adapter x")

    message = error.value.message
    assert "\n" not in message
    assert f"({part} {stored['hashes'][part][:12]})" in message
    assert f"the same weights with another {part.replace('_', ' ')}" in message
    assert "" == other.check_base(stored, "adapter x", own=(part,))


def test_what_a_library_writes_elsewhere_is_the_same_input(tmp_path: Path) -> None:
    """A template within the configuration, and notes on where that was read from."""
    stored = model(
        tmp_path / "base",
        chat_template__jinja=TEMPLATE,
        tokenizer_config__json=b'{"eos_token": "x", "bos_token": "y"}',
    ).base_record()
    settings = {"bos_token": "y", "eos_token": "x", "name_or_path": "/tmp"}
    copies = {
        "one": {"chat_template": TEMPLATE.decode()},
        "list": {"chat_template": [{"name": "default", "template": TEMPLATE.decode()}]},
    }
    for name, holder in copies.items():
        content = json.dumps(settings | holder).encode()
        copy = model(tmp_path / name, tokenizer_config__json=content)
        assert "" == copy.check_base(stored, "adapter x")


def test_trainings_of_before_do_not_know_their_template(tmp_path: Path) -> None:
    """They have three hashes, and load as they did; the others refuse to the letter."""
    base = model(tmp_path / "base", chat_template__jinja=TEMPLATE)
    record = base.base_record()
    for part in ("chat_template", "tokenizer_config"):
        del record["hashes"][part]
    assert {"weights", "config", "tokenizer"} == record["hashes"].keys()
    other = model(tmp_path / "other", chat_template__jinja=b"{{ others }}")

    assert "" == other.check_base(record, "adapter x")
