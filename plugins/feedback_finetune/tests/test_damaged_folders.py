"""Damaged files of a training: named in one line, never read as something else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import ModelError
from safebench_feedback_finetune.train.training_folder import (
    read_pre_registration,
    read_seen_hashes,
    read_test_split,
)

if TYPE_CHECKING:
    from pathlib import Path

PART = {
    "prompt_id": "a",
    "part": "train",
    "role": "collected",
    "cluster": "a",
    "text_hash": "0f",
}
TEST = {
    "id": "a",
    "text": "t",
    "dataset": "d",
    "group": "g",
    "label": None,
    "p_in": 0.2,
    "p_out": [0.9],
    "responses": [],
    "passed": True,
    "cluster": "a",
}
PROMISE: dict[str, Any] = {
    "terms": {"cap": 0.1, "tolerance": 0.0, "delta": 0.05},
    "base_fpr": 0.1,
    "base_recall": 0.5,
    "aim": 0.05,
    "n_benign": 9,
    "candidate": {"alpha": 1.0, "threshold": 0.5},
    "control": {"alpha": 0.0, "threshold": 0.5},
}
# No JSON, half a line, no text, zeros of a crash, a bomb, another shape.
GARBAGE = (b"{", b"\xff\xfe", b"\0" * 64, b"[" * 100_000, b"[]", b"7", b"null", b"{}")


def _changed(row: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(row | changes).encode()


@pytest.mark.parametrize(
    "line",
    [
        *GARBAGE,
        _changed(PART, part="holdout"),
        _changed(PART, part=["train"]),
        _changed(PART, text_hash=None),
    ],
)
def test_a_damaged_line_of_the_splits_is_named(tmp_path: Path, line: bytes) -> None:
    """Prompts that were seen in training must not pass as unseen ones."""
    path = tmp_path / "parts.jsonl"
    path.write_bytes(_changed(PART) + b"\n" + line + b"\n")

    with pytest.raises(ModelError, match=r"parts.jsonl:2 is damaged \(.+\): train"):
        read_seen_hashes(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        *GARBAGE,
        _changed(TEST, p_in=float("nan")),
        _changed(TEST, p_out=[1.5]),
        _changed(TEST, p_out=0.5),
        _changed(TEST, p_out=["0.5"]),
        _changed(TEST, label="safe"),
        _changed(TEST, text=1),
        _changed(TEST, colour="red"),
    ],
)
def test_a_damaged_line_of_the_test_split_is_named(tmp_path: Path, line: bytes) -> None:
    """Neither a traceback nor a score that is none."""
    path = tmp_path / "test.jsonl"
    path.write_bytes(_changed(TEST) + b"\n" + line + b"\n")

    with pytest.raises(ModelError, match=r"test.jsonl:2 is damaged \(.+\): train"):
        read_test_split(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        *GARBAGE,
        _changed(PROMISE)[:-20],
        _changed(PROMISE, terms={"cap": 7.0}),
        _changed(PROMISE, candidate="best"),
        _changed(PROMISE, candidate={"alpha": 3.0, "threshold": 0.5}),
        _changed(PROMISE, control=None),
        _changed(PROMISE, aim=None),
        _changed(PROMISE, n_benign="many"),
    ],
)
def test_a_damaged_registration_is_not_made_again(
    tmp_path: Path, content: bytes
) -> None:
    """Calib may have been seen since: the file is named, and a new folder asked for."""
    path = tmp_path / "promise.json"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=r"promise.json is damaged \(.+\): train"):
        read_pre_registration(path)
    assert path.read_bytes() == content


def test_whole_files_are_read(tmp_path: Path) -> None:
    """What training writes is no damage."""
    (tmp_path / "parts.jsonl").write_bytes(_changed(PART) + b"\n")
    (tmp_path / "test.jsonl").write_bytes(_changed(TEST) + b"\n")
    (tmp_path / "promise.json").write_bytes(_changed(PROMISE))

    assert read_seen_hashes(tmp_path) == {"0f"}
    assert read_test_split(tmp_path)[1] == {"a": "a"}
    assert read_pre_registration(tmp_path / "promise.json").n_benign == 9
