"""Files are replaced whole or not at all; a folder has one writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from safebench.errors import RunFolderError
from safebench.files import (
    atomic_path,
    lock_folder,
    write_json,
    write_jsonl,
    write_lines,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_a_written_file_is_alone_in_its_folder(tmp_path: Path) -> None:
    """Missing folders are made, and no temporary file stays behind."""
    path = tmp_path / "deep" / "lines.txt"

    write_lines(path, ["one", "two"])

    assert b"one\ntwo\n" == path.read_bytes()
    assert [path] == list(path.parent.iterdir())


def test_a_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    """NaN is no JSON: the records before it do not replace what was there."""
    path = tmp_path / "records.jsonl"
    write_jsonl(path, [{"score": 0.5}])

    with pytest.raises(ValueError, match="JSON"):
        write_jsonl(path, [{"score": 0.1}, {"score": float("nan")}])

    assert '{"score": 0.5}\n' == path.read_text(encoding="utf-8")
    assert [path] == list(tmp_path.iterdir())


def test_the_temporary_file_of_a_killed_process_disturbs_nobody(tmp_path: Path) -> None:
    """Another process, with another id, writes beside it."""
    (tmp_path / ".value.json.999999.tmp").write_text('{"hal', encoding="utf-8")

    write_json(tmp_path / "value.json", {"half": 1})

    assert '{\n  "half": 1\n}\n' == (tmp_path / "value.json").read_text("utf-8")


def test_any_library_can_write_to_the_temporary_path(tmp_path: Path) -> None:
    """Until the block ends, readers see the old bytes."""
    path = tmp_path / "data.bin"
    path.write_bytes(b"old")

    with atomic_path(path) as partial:
        partial.write_bytes(b"new")
        assert b"old" == path.read_bytes()

    assert b"new" == path.read_bytes()


def test_a_locked_folder_refuses_a_second_writer(tmp_path: Path) -> None:
    """At once and by name; when the first one is done, the next may write."""
    folder = tmp_path / "run"

    refused = pytest.raises(RunFolderError, match=f"is writing to {folder}")
    with lock_folder(folder), refused, lock_folder(folder):
        pass
    with lock_folder(folder):
        pass
