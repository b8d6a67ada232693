"""Marks of reviewers beside a run: stored without text, whoever writes at a time."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from safebench.errors import DataError, OptionError, SafebenchError
from safebench.results import review_marks
from safebench.results.review_marks import (
    REVIEW_FILE,
    LabelMark,
    ReviewedSample,
    Verdict,
    read_marks,
    remove_mark,
    store_mark,
    verdicts,
)

if TYPE_CHECKING:
    from pathlib import Path


def mark(id_: str = "a", word: str = "wrong", **fields: Any) -> LabelMark:
    """Return a mark of a sample's label, which is positive."""
    sample = ReviewedSample("set", None, "test", "prompt_harm", id_, f"hash-{id_}")
    return LabelMark(**({"sample": sample, "label": True, "mark": word} | fields))


def test_the_last_mark_of_a_reviewer_counts_and_can_be_taken_back(
    tmp_path: Path,
) -> None:
    """Others keep theirs; no mark is no file."""
    assert [] == read_marks(tmp_path)
    store_mark(tmp_path, mark(by="anna"))
    store_mark(tmp_path, mark(by="ben", word="right"))
    store_mark(tmp_path, mark(by="anna", word="unclear", note="\u202e<b>\ud800"))

    said = {m.by: (m.mark, m.note) for m in read_marks(tmp_path)}
    assert {"ben": ("right", ""), "anna": ("unclear", "\u202e<b>\ud800")} == said
    remove_mark(tmp_path, mark().sample, "anna")
    remove_mark(tmp_path, mark("other").sample, "anna")
    assert ["ben"] == [m.by for m in read_marks(tmp_path)]


def test_writers_at_one_time_lose_nothing(tmp_path: Path) -> None:
    """As of two servers that show one folder."""
    threads = [
        threading.Thread(target=store_mark, args=(tmp_path, mark(str(number))))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(map(str, range(12))) == {m.sample.id for m in read_marks(tmp_path)}
    assert not list(tmp_path.glob("*.tmp"))


def test_a_writer_that_stays_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what to do."""
    from filelock import FileLock

    monkeypatch.setattr(review_marks, "_LOCK_SECONDS", 0.01)
    lock = FileLock(tmp_path / f".{REVIEW_FILE}.lock")
    with lock, pytest.raises(SafebenchError, match="somebody else: try again"):
        store_mark(tmp_path, mark())


@pytest.mark.parametrize(
    ("field", "value"),
    [("mark", "maybe"), ("label", "yes"), ("id", 7), ("note", "x" * 501), ("by", None)],
)
def test_a_damaged_line_is_named_and_never_written_over(
    tmp_path: Path, field: str, value: Any
) -> None:
    """Whatever is wrong with it: other people's marks are not dropped in silence."""
    store_mark(tmp_path, mark())
    path = tmp_path / REVIEW_FILE
    record = json.loads(path.read_text("utf-8"))
    text = json.dumps(record) + "\n" + json.dumps(record | {field: value}) + "\n"
    path.write_text(text, "utf-8")

    with pytest.raises(DataError, match=rf"{REVIEW_FILE}:2 is no mark"):
        store_mark(tmp_path, mark("b"))
    assert text == path.read_text("utf-8")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_read(tmp_path: Path, make: Any) -> None:
    """A folder of others may have a pipe there, which would never end."""
    make(tmp_path / REVIEW_FILE)

    with pytest.raises(DataError, match="is no file of marks"):
        read_marks(tmp_path)


def test_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    """A file may come from a newer safebench."""
    store_mark(tmp_path, mark())
    path = tmp_path / REVIEW_FILE
    path.write_text(path.read_text("utf-8").replace("{", '{"new": 1, ', 1), "utf-8")

    assert [mark()] == read_marks(tmp_path)


def test_strangers_cannot_fill_a_disk(tmp_path: Path) -> None:
    """Names and notes have a length, and a sample a number of reviewers."""
    with pytest.raises(OptionError, match="501 characters"):
        mark(note="x" * 501)
    with pytest.raises(SafebenchError, match="right"):
        mark(word="rihgt")
    for number in range(review_marks.MAX_REVIEWERS):
        store_mark(tmp_path, mark(by=str(number)))
    with pytest.raises(OptionError, match="20 reviewers"):
        store_mark(tmp_path, mark(by="one more"))


def test_reviewers_who_disagree_make_a_label_unclear() -> None:
    """Of one reviewer the last mark counts; of another label only those of today."""
    said = verdicts(
        [
            mark("a", "wrong", by="anna"),
            mark("a", "right", by="ben"),
            mark("b", "right", by="anna", at="2026-02"),
            mark("b", "wrong", by="anna", at="2026-01"),
            mark("c", "wrong", by="anna", at="2026-01", label=False),
            mark("c", "right", by="ben", at="2026-02"),
        ]
    )

    assert {
        "a": Verdict(label=True, mark="unclear", disagree=True),
        "b": Verdict(label=True, mark="right"),
        "c": Verdict(label=True, mark="right"),
    } == {sample.id: verdict for sample, verdict in said.items()}
