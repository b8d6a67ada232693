"""Lines that are written whole, or asked again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safebench.errors import DataError
from safebench.records import Sample, Turn
from safebench_feedback_finetune.collect.collection_folder import (
    CollectionRecord,
    append_lines,
    prompt_id,
    read_collection,
    response_id,
    truncate_partial_line,
)
from safebench_feedback_finetune.stored_files import sealed

if TYPE_CHECKING:
    from pathlib import Path

RECORD = CollectionRecord(
    prompt_id="p",
    response_id="r",
    prompt="one\u2028line",
    response="an answer\nin two",
    p_in=0.25,
    p_out=0.75,
    categories=("S1", "S10"),
    passed=True,
    blocked=True,
    label=None,
    response_label=True,
    group="g",
    dataset="d:train",
    revision="local:1",
    guard="guard",
    generator="replay",
)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    """Separators within texts do not end a line."""
    other = replace(RECORD, response_id="s")
    append_lines(tmp_path / "collected.jsonl", [RECORD.to_json(), other.to_json()])

    assert [RECORD, other] == read_collection(tmp_path)
    assert [RECORD, other] == read_collection(tmp_path / "collected.jsonl")


def test_lines_of_early_versions_have_no_checksum(tmp_path: Path) -> None:
    """They are read by their types alone."""
    path = tmp_path / "collected.jsonl"
    path.write_text(json.dumps(RECORD.to_json()) + "\n", encoding="utf-8")

    assert [RECORD] == read_collection(path)


def test_passed_then_blocked_needs_both() -> None:
    """Neither a prompt that was blocked nor a response that was not judged."""
    assert RECORD.passed_then_blocked
    assert not replace(RECORD, passed=False, blocked=None).passed_then_blocked
    assert not replace(RECORD, blocked=False).passed_then_blocked
    assert not replace(RECORD, blocked=None, p_out=None).passed_then_blocked


def test_ids_are_hashes_of_normalised_text() -> None:
    """That of a prompt is the content hash of a sample with one user turn."""
    sample = Sample(id="x", turns=(Turn("user", "Caf\u00e9\n"),))

    assert sample.content == prompt_id(" Cafe\u0301\r\n")
    assert hashlib.sha256(b"a\nb").hexdigest() == response_id("a\r\nb ")


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_a_partial_line_is_removed_and_whole_ones_stay(
    tmp_path: Path, cut: int
) -> None:
    """Whatever is behind the last line feed was not written to its end."""
    path = tmp_path / "collected.jsonl"
    append_lines(path, [RECORD.to_json()])
    complete = path.read_bytes()
    path.write_bytes(complete + complete[:cut])

    truncate_partial_line(path)

    assert complete == path.read_bytes()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "property name"),
        ("[]", "dict is expected"),
        ("[" * 100_000, "recursion"),
        ('{"prompt": "a"}', "lacks"),
        (json.dumps(RECORD.to_json()), "second record"),
        (json.dumps(sealed(RECORD.to_json()) | {"p_in": 0.35}), "checksum"),
        (json.dumps(RECORD.to_json() | {"p_in": "0.25"}), "float is expected"),
        (json.dumps(RECORD.to_json() | {"p_out": 1.5}), "no probability"),
        (json.dumps(RECORD.to_json() | {"p_out": None}), "blocked without p_out"),
        (json.dumps(RECORD.to_json() | {"passed": 1}), "bool is expected"),
        (json.dumps(RECORD.to_json() | {"categories": "S1"}), "list is expected"),
        (json.dumps(RECORD.to_json() | {"prompt": None}), "str is expected"),
    ],
    ids=range(12),
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    """File, line number and what is wrong with it."""
    path = tmp_path / "collected.jsonl"
    path.write_text(json.dumps(RECORD.to_json()) + "\n" + line + "\n")

    with pytest.raises(DataError, match=rf"collected.jsonl:2 is damaged .*{message}"):
        read_collection(tmp_path)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    """The message names the command that makes one."""
    with pytest.raises(DataError, match="feedback collect"):
        read_collection(tmp_path)
