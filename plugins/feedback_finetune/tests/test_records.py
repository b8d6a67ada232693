"""Lines that are written whole, or asked again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from safebench.errors import DataError
from safebench.records import Sample, Turn
from safebench_feedback_finetune.records import (
    Collected,
    append_lines,
    drop_torn_line,
    prompt_id,
    read_collected,
    response_id,
)

if TYPE_CHECKING:
    from pathlib import Path

RECORD = Collected(
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
    append_lines(tmp_path / "collected.jsonl", [RECORD.to_json()] * 2)

    assert [RECORD, RECORD] == read_collected(tmp_path)
    assert [RECORD, RECORD] == read_collected(tmp_path / "collected.jsonl")


def test_slipped_means_passed_and_then_blocked() -> None:
    """Neither a prompt that was blocked nor a response that was not judged."""
    from dataclasses import replace

    assert RECORD.slipped
    assert not replace(RECORD, passed=False, blocked=None).slipped
    assert not replace(RECORD, blocked=False).slipped
    assert not replace(RECORD, blocked=None, p_out=None).slipped


def test_ids_are_hashes_of_normalised_text() -> None:
    """That of a prompt is the content hash of a sample with one user turn."""
    sample = Sample(id="x", turns=(Turn("user", "Caf\u00e9\n"),))

    assert sample.content == prompt_id(" Cafe\u0301\r\n")
    assert hashlib.sha256(b"a\nb").hexdigest() == response_id("a\r\nb ")


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_a_torn_line_goes_and_whole_ones_stay(tmp_path: Path, cut: int) -> None:
    """Whatever is behind the last line feed was not written to its end."""
    path = tmp_path / "collected.jsonl"
    append_lines(path, [RECORD.to_json()])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:cut])

    drop_torn_line(path)

    assert whole == path.read_bytes()


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "no JSON"), ("[]", "no JSON object"), ('{"prompt": "a"}', "lacks")],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    """File, line number and what is wrong with it."""
    path = tmp_path / "collected.jsonl"
    path.write_text(json.dumps(RECORD.to_json()) + "\n" + line + "\n")

    with pytest.raises(DataError, match=rf"collected.jsonl:2: .*{said}"):
        read_collected(tmp_path)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    """The message names the command that makes one."""
    with pytest.raises(DataError, match="feedback collect"):
        read_collected(tmp_path)
