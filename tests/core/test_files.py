"""Files are replaced whole or not at all; a folder has one writer."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from safebench import files
from safebench.errors import RunFolderError
from safebench.files import (
    SET_ASIDE,
    atomic_path,
    file_state,
    is_settled,
    lock_folder,
    set_aside,
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


def test_temporary_files_of_dead_processes_go_with_the_next_lock(
    tmp_path: Path,
) -> None:
    """Those of living ones stay, but where only holders of the lock write."""
    living = os.getppid()
    kept = [
        tmp_path / f".page.html.{living}.tmp",
        tmp_path / "deep" / ".a.json.999999999.tmp",
        tmp_path / "notes.999999999.tmp",
        tmp_path / ".notes.tmp",
    ]
    removed = [
        tmp_path / ".a.json.999999999.tmp",
        tmp_path / f".a.json.{os.getpid()}.tmp",
        tmp_path / "evidence" / "key" / f".0.npz.{living}.tmp",
        tmp_path / "evidence" / ".0.npz.999999999.tmp",
    ]
    old = tmp_path / f".old.json.{living}.tmp"
    for path in (*kept, *removed, old):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half a fi", encoding="utf-8")
    os.utime(old, (0, 0))

    with lock_folder(tmp_path, ["evidence", "missing"]):
        assert all(path.exists() for path in kept)
        assert not any(path.exists() for path in (*removed, old))


def test_a_refused_lock_removes_nothing(tmp_path: Path) -> None:
    """The temporary file is that of whoever holds the lock."""
    path = tmp_path / "evidence" / ".0.npz.999999999.tmp"
    path.parent.mkdir()
    with lock_folder(tmp_path, ["evidence"]):
        path.write_text("half a fi", encoding="utf-8")
        with pytest.raises(RunFolderError), lock_folder(tmp_path, ["evidence"]):
            pass
        assert path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_set_aside_is_kept(tmp_path: Path, kind: str) -> None:
    """Under a new name, a second time under another."""
    path = tmp_path / "part"
    for number in (1, 2, 3):
        if kind == "file":
            path.write_text(str(number), encoding="utf-8")
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("nowhere")

        aside = set_aside(path)

        assert not path.is_symlink()
        assert not path.exists()
        assert aside.name.startswith(f"part{SET_ASIDE}")
    assert 3 == len(list(tmp_path.iterdir()))


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    """And a folder in the way of a file: with what to do."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "folder.json").mkdir()

    with pytest.raises(RunFolderError, match=r"file is in the way.*delete it"):
        write_json(tmp_path / "file" / "deep" / "value.json", 1)
    with pytest.raises(RunFolderError, match="folder is in its place"):
        write_json(tmp_path / "folder.json", 1)


@pytest.mark.parametrize("age", [0.0, 1800.0, -1800.0])
def test_the_state_of_a_file_of_this_moment_equals_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float
) -> None:
    """Within a tick of the clock it could be written to, and nothing else differ."""
    # a test may take longer than the tick of any clock
    monkeypatch.setattr(files, "TICK_SECONDS", 3600.0)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"1")
    moment = time.time() - age
    os.utime(path, (moment, moment))

    first, second = file_state(path), file_state(path)

    assert not is_settled(first)
    assert first != second
    assert first[:4] == second[:4]


@pytest.mark.parametrize("age", [60.0, -3600.0])
def test_the_state_of_an_older_file_changes_with_the_file(
    tmp_path: Path, age: float
) -> None:
    """Also that of a server whose clock is ahead; written anew, it is another."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"1")
    moment = time.time() - age
    os.utime(path, (moment, moment))
    first = file_state(path)

    assert is_settled(first)
    assert first == file_state(path)
    path.write_bytes(b"2")
    assert first != file_state(path)
