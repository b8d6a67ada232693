"""Checksums of stored JSON: any change is noticed, and no change is none."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.checksums import (
    bytes_checksum,
    file_checksum,
    sealed,
    unsealed,
)

if TYPE_CHECKING:
    from pathlib import Path

CONTENTS: list[dict[str, Any]] = [
    {},
    {"a": 1, "b": [1.5, None, True], "c": {"d": "é\u2028\ud800"}},
    {"tuple": (1, 2), "keys": {2: "two", 10: "ten"}, "path": complex(1, 2)},
    {"nan": float("nan"), "long": 10**30, "small": 5e-324},
]


@pytest.mark.parametrize("content", CONTENTS)
def test_what_was_written_is_read_back(content: dict[str, Any]) -> None:
    """Also what JSON has no type for, which is stored as text."""
    text = json.dumps(sealed(content), default=str)

    read = unsealed(json.loads(text))

    assert json.dumps(content, default=str) == json.dumps(read, default=str)
    assert sealed(sealed(content)) == sealed(content)


@pytest.mark.parametrize(
    "changed",
    [
        {"a": 2, "b": [1, 2]},
        {"a": 1.0, "b": [1, 2]},
        {"a": True, "b": [1, 2]},
        {"a": "1", "b": [1, 2]},
        {"a": 1, "b": [2, 1]},
        {"a": 1, "b": [1]},
        {"a": 1},
        {"a": 1, "b": [1, 2], "c": None},
        {"A": 1, "b": [1, 2]},
    ],
)
def test_any_change_is_noticed(changed: dict[str, Any]) -> None:
    """Of a value, its type, an order, a name; the order of names means nothing."""
    written = sealed({"a": 1, "b": [1, 2]})

    with pytest.raises(ValueError, match="changed"):
        unsealed({**changed, "checksum": written["checksum"]})
    assert {"b": [1, 2], "a": 1} == unsealed(dict(reversed(written.items())))


@pytest.mark.parametrize("value", [[], "x", None, 3])
def test_what_is_no_object_is_refused(value: Any) -> None:
    """Whatever it has been."""
    with pytest.raises(TypeError):
        unsealed(value)


def test_files_are_hashed_as_they_are(tmp_path: Path) -> None:
    """The first 16 hex digits of SHA-256, which other tools compute, too."""
    content = b"one\r\n\xff" * 100_000
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(b"")
    expected = hashlib.sha256(content).hexdigest()[:16]

    assert expected == file_checksum(tmp_path / "a") == bytes_checksum(content)
    assert bytes_checksum(b"") == file_checksum(tmp_path / "b")
