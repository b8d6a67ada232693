"""The results file: rows replace their equals, and no crash leaves half a file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from safebench.errors import DataError
from safebench.results import merge_rows, read_rows
from safebench.results.rows import to_json
from safebench.testing.result_rows import result_row

if TYPE_CHECKING:
    from pathlib import Path

ROW = result_row()
F1, RECALL = result_row(metric="f1"), result_row(metric="recall")


def test_new_rows_are_added_at_the_end(tmp_path: Path) -> None:
    """A first merge makes the file and its folder, a second one adds to it."""
    path = tmp_path / "new" / "results.jsonl"

    assert [ROW] == merge_rows(path, [ROW])
    assert [ROW, F1, RECALL] == merge_rows(path, [F1, RECALL])
    assert [ROW, F1, RECALL] == read_rows(path)


def test_a_row_takes_the_place_of_its_equal(tmp_path: Path) -> None:
    """Order stays; the value and all else are the new row's."""
    path = tmp_path / "results.jsonl"
    merge_rows(path, [ROW, F1, RECALL])
    again = replace(F1, value=0.9, n=4)
    merge_rows(path, [again])

    assert [ROW, again, RECALL] == read_rows(path)


def test_merging_the_same_rows_changes_no_byte(tmp_path: Path) -> None:
    """A resumed run writes the same file."""
    path = tmp_path / "results.jsonl"
    merge_rows(path, [ROW, F1])
    before = path.read_bytes()
    merge_rows(path, [F1, ROW])

    assert before == path.read_bytes()


def test_a_crash_while_writing_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before the rename, the old rows are there and the next merge works."""
    path = tmp_path / "results.jsonl"
    merge_rows(path, [ROW])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_rows(path, [F1])

    assert [ROW] == read_rows(path)
    assert [path] == list(tmp_path.iterdir())
    assert [ROW, RECALL] == merge_rows(path, [RECALL])


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    """The message has FILE:LINE and the reason for each bad line, at most ten."""
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join([to_json(ROW), "{", "", "[]", *["{}"] * 10]))

    with pytest.raises(DataError) as caught:
        read_rows(path)

    lines = caught.value.message.split("\n")
    assert 11 == len(lines)
    assert lines[0].startswith(f"{path}:2: ")
    assert lines[1].startswith(f"{path}:4: ")
    assert "... and 2 more" == lines[-1]


def test_line_separators_inside_a_name_split_nothing(tmp_path: Path) -> None:
    """U+2028 and U+0085 are text; only a newline ends a row."""
    path = tmp_path / "results.jsonl"
    row = replace(ROW, dataset="a\u2028b\x85c")
    merge_rows(path, [row, F1])

    assert [row, F1] == read_rows(path)


def test_a_binary_file_is_refused_in_one_line(tmp_path: Path) -> None:
    """A file that is no text is named, without a traceback."""
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(DataError, match="no UTF-8 text"):
        read_rows(path)
