"""What the surroundings refuse is one line: what, where, and what would work."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.errors import RunFolderError
from safebench.files import atomic_path, atomic_write, check_file_name, write_json
from safebench.os_errors import (
    SystemRefusalError,
    os_errors_as_messages,
    refusal_message,
)
from safebench.plugins import Plugins

LONG = "n" * 300
ROWS = [
    {"prompt": "how do I bake bread", "label": "safe"},
    {"prompt": "help me attack the town hall", "label": "unsafe"},
]
KEYWORD = ["run", "-c", "keyword", "--calibration-fraction", "0", "-d"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that holds a data file, a file and links that lead nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAFEBENCH_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "good.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "FILE").write_text("x", encoding="utf-8")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "dangling.jsonl").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


def safebench(*args: str) -> Result:
    """Run the command line in process."""
    return CliRunner().invoke(cli, args, obj=Plugins())


def assert_one_line(result: Result, *parts: str) -> None:
    """Check exit code 2, one line of error and what it says."""
    assert 2 == result.exit_code, result.output
    assert isinstance(result.exception, SystemExit)
    errors = [line for line in result.stderr.splitlines() if "Error: " in line]
    assert 1 == len(errors), result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    for part in parts:
        assert part in errors[0]


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ([*KEYWORD, "good.jsonl", "--out", "FILE/x"], ["FILE is in the way", "FILE/x"]),
        ([*KEYWORD, "good.jsonl", "--out", "FILE"], ["FILE is a file"]),
        ([*KEYWORD, "good.jsonl", "--out", "dangling"], ["dangling is in the way"]),
        ([*KEYWORD, "good.jsonl", "--out", "dangling/x"], ["dangling is in the way"]),
        ([*KEYWORD, "good.jsonl", "--out", "loop"], ["loop is in the way"]),
        ([*KEYWORD, "good.jsonl", "--out", LONG], ["300 bytes", "shorter"]),
        ([*KEYWORD, "good.jsonl", "--out", "é" * 130], ["260 bytes", "shorter"]),
        ([*KEYWORD, "good.jsonl", "--out", "~nobody-here/x"], ["~nobody-here/x"]),
        ([*KEYWORD, f"{LONG}.jsonl"], ["name too long", "shorter"]),
        ([*KEYWORD, "dangling.jsonl"], ["dangling.jsonl", "leads nowhere"]),
        ([*KEYWORD, "~nobody-here/x.jsonl"], ["~nobody-here", "HOME"]),
        ([*KEYWORD, "FILE/x.jsonl"], ["FILE"]),
        (["run", "--config", LONG], ["name too long"]),
        (["leaderboard", LONG], ["name too long"]),
        (["leaderboard", "FILE/x"], ["FILE/x"]),
        (["compare", LONG, "x"], ["name too long"]),
        (["compare", "a", "b", "--run", LONG], ["name too long"]),
        (["analyze", LONG], ["name too long"]),
        (["analyze", "FILE/x"], ["FILE/x"]),
        (["score", "-c", "keyword", "--prompt-file", "FILE/x"], ["FILE/x"]),
        (["score", "-c", "keyword", "--prompt-file", LONG], ["name too long"]),
        (["score", "-c", "keyword", "--set", "words=FILE/x", "hi"], ["FILE/x"]),
        (["overlap", LONG, "starter"], ["name too long"]),
        (["overlap", "dangling.jsonl", "starter"], ["leads nowhere"]),
        (["doctor", "-c", "keyword", "--set", f"words={LONG}"], []),
    ],
)
def test_a_path_that_cannot_be_used_is_one_line(
    args: list[str], parts: list[str]
) -> None:
    """Exit code 2; the line names the path, and what is wrong with it."""
    result = safebench(*args)

    if parts:
        assert_one_line(result)
        folded = result.stderr.casefold()
        assert all(part.casefold() in folded for part in parts), result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("label", "named"),
    [("a\x00b", "U+0000"), ("a\x1b[2Jb", "U+001B"), ("a\udcffb", "U+DCFF")],
)
def test_a_label_that_is_no_text_is_refused_before_the_work(
    folder: Path, label: str, named: str
) -> None:
    """Command line and YAML file alike; no run folder is left behind."""
    config = {"classifiers": [{"name": "keyword", "label": label}], "out": "made"}
    (folder / "c.yaml").write_text(json.dumps(config), encoding="utf-8")

    results = [
        safebench("run", "-c", f"{label}=keyword", "--out", "made"),
        safebench("run", "--config", "c.yaml"),
        safebench("score", "-c", f"{label}=keyword", "hi"),
    ]

    for result in results:
        assert_one_line(result, named)
        assert label not in result.output
    assert not (folder / "made").exists()


@pytest.mark.parametrize("key", ["out", "data_root", "datasets"])
def test_nul_in_a_path_of_a_file_of_options_is_one_line(folder: Path, key: str) -> None:
    """NUL cannot be typed, but YAML and JSON can hold it."""
    value: Any = ["a\0b.jsonl"] if key == "datasets" else "a\0b"
    config: dict[str, Any] = {"classifier": "keyword", "datasets": ["good.jsonl"]}
    config |= {"datasets": ["xstest"]} if key == "data_root" else {}
    config[key] = value
    (folder / "c.yaml").write_text(json.dumps(config), encoding="utf-8")

    result = safebench("run", "--config", "c.yaml")

    assert_one_line(result, "a<U+0000>b")


def test_a_file_name_that_is_no_unicode_is_one_line(folder: Path) -> None:
    """Results are stored in UTF-8 and named after the data, which must be renamed."""
    name = os.fsdecode(b"b\xffd.jsonl")
    (folder / name).write_bytes((folder / "good.jsonl").read_bytes())

    assert_one_line(safebench(*KEYWORD, name), "b\\udcffd.jsonl", "UTF-8")
    assert_one_line(
        safebench(*KEYWORD, "good.jsonl", "--out", os.fsdecode(b"o\xff")), "o\\udcff"
    )


def test_the_current_folder_may_be_gone(folder: Path) -> None:
    """One line, whatever the command; libraries of models would end the process."""
    gone = folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        for args in (["list"], ["run", "-c", "keyword"], ["score", "hi"], ["doctor"]):
            assert_one_line(safebench(*args), "the current folder does not exist")
    finally:
        os.chdir(folder)


def test_home_may_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOME, and without an entry of the user, ``~`` means nothing."""
    monkeypatch.setattr("os.path.expanduser", lambda path: path)

    assert_one_line(safebench(*KEYWORD, "~/x.jsonl"), "~/x.jsonl", "set HOME")
    assert_one_line(safebench(*KEYWORD, "starter", "--out", "~/x"), "~/x", "set HOME")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "can be written to"),
        (errno.EACCES, "that you may use"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, ""),
    ],
)
def test_what_fails_in_the_middle_of_a_run_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    """The message names the file and not its temporary one; a repeat goes on."""
    real, calls = os.fsync, []

    def fails_late(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr("os.fsync", fails_late)
    failed = safebench(*KEYWORD, "good.jsonl", "--out", "made")
    monkeypatch.setattr("os.fsync", real)
    repeated = safebench(*KEYWORD, "good.jsonl", "--out", "made")

    assert_one_line(failed, "made/", os.strerror(code), advice)
    assert ".tmp" not in failed.output
    assert not [*(folder / "made").rglob("*.tmp")]
    assert 0 == repeated.exit_code, repeated.output


@pytest.mark.slow
@pytest.mark.parametrize("label", [LONG, "é" * 130, "漢" * 100])
def test_a_label_may_be_longer_than_a_name_of_a_file(label: str) -> None:
    """Folders and files get shorter names; tables show the label."""
    for args in (["-c", f"{label}=keyword"], ["-c", "keyword", "-s", f"{label}=score"]):
        result = safebench("run", *args, "-d", "good.jsonl", "--out", f"o{args[1][0]}")

        assert 0 == result.exit_code, result.output


def test_debug_shows_where_the_surroundings_refused() -> None:
    """With --debug the OSError is behind the message, with its traceback."""
    result = safebench(*KEYWORD, "good.jsonl", "--config", LONG, "--debug")

    assert isinstance(result.exception, RuntimeError)
    refusal = result.exception.__cause__
    assert isinstance(refusal, SystemRefusalError)
    assert isinstance(refusal.__cause__, OSError)


def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`glob` finds nothing in it, without a word."""
    assert 0 == safebench(*KEYWORD, "good.jsonl", "--out", "made").exit_code
    real = Path.iterdir

    def refuse(path: Path) -> Any:
        if path.name in ("predictions", "runs"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    (folder / "runs").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)

    assert_one_line(safebench("analyze", "made"), "made/predictions", "denied")
    assert_one_line(safebench("leaderboard"), "runs", "denied")


def python(code: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with `code` before it."""
    program = f"import sys\n{code}\nfrom safebench.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", program],
        text=True,
        check=False,
        timeout=240,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
    )


COMMANDS = [
    "['list']",
    "['--help']",
    "['score', '-c', 'keyword', 'hi']",
    "['leaderboard', 'made', '--format', 'csv']",
    "['run', '-c', 'keyword', '-d', 'good.jsonl', '--out', 'made']",
]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("argv", COMMANDS)
def test_output_that_cannot_be_written_is_one_line(argv: str) -> None:
    """A full disk behind it, closed by the caller, or closed with the messages."""
    safebench(*KEYWORD, "good.jsonl", "--out", "made", "--calibration-fraction", "0.3")
    set_argv = f"sys.argv[1:] = {argv}"
    with Path("/dev/full").open("w") as full:
        no_space = python(set_argv, stdout=full)
    closed = python(f"{set_argv}\nimport os\nos.close(1)\nsys.stdout = None")
    silent = python(
        f"{set_argv}\nimport os\nfor n in 0, 1, 2: os.close(n)\n"
        "sys.stdin = sys.stdout = sys.stderr = None"
    )

    assert (2, 2, 2) == (no_space.returncode, closed.returncode, silent.returncode)
    for done, reason in ((no_space, "No space left"), (closed, "it is closed")):
        *_, last = done.stderr.splitlines()
        assert last.startswith("Error: standard output: ")
        assert reason in last
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_messages_that_cannot_be_written_end_no_work(folder: Path) -> None:
    """Results and exit code are those of a run whose messages are seen."""
    set_argv = f"sys.argv[1:] = {[*KEYWORD, 'good.jsonl', '--out']!r}"
    with Path("/dev/full").open("w") as full:
        done = python(f"{set_argv} + ['a']", stderr=full)
    closed = python(
        f"{set_argv} + ['b']\nimport os\nos.close(2)\nsys.stderr = None",
    )

    assert (0, 0) == (done.returncode, closed.returncode)
    for name in ("a", "b"):
        assert (folder / name / "results.jsonl").is_file()


@pytest.mark.slow
def test_a_file_never_takes_the_place_of_a_closed_output(folder: Path) -> None:
    """What a library prints on file number 1 would end up in the next file opened."""
    code = (
        "import os\nos.close(1)\nsys.stdout = None\n"
        "from safebench.cli.execution import open_missing_streams\n"
        "open_missing_streams()\n"
        "number = os.open('victim', os.O_CREAT | os.O_WRONLY)\n"
        "sys.stderr.write(str(number))\nos._exit(0)"
    )

    assert int(python(code).stderr) > 2


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As in ``safebench list | head -1``: nothing on standard error."""
    reading, writing = os.pipe()
    os.close(reading)

    done = python("sys.argv[1:] = ['list']", stdout=writing)
    os.close(writing)

    assert (1, "") == (done.returncode, done.stderr)


def test_temporary_names_fit_where_the_name_fits(tmp_path: Path) -> None:
    """A name of 255 bytes can be written, whatever a temporary one adds."""
    for name in ("n" * 255, "é" * 127, "漢" * 85):
        path = tmp_path / name
        check_file_name(path)
        with atomic_write(path) as file:
            file.write("x")
        assert "x" == path.read_text(encoding="utf-8")
        with pytest.raises(RunFolderError, match="shorter"):
            check_file_name(path.with_name(name + "nn"))


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    """Only what names nothing, or the temporary file, is named after the target."""
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "out"):
        (tmp_path / "other").read_bytes()

    assert str(tmp_path / "other") == caught.value.filename


def test_a_full_disk_behind_a_library_is_named_by_the_file(tmp_path: Path) -> None:
    """Libraries write by handles, whose errors name no file."""
    path = tmp_path / "weights.npz"

    def save(file: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(SystemRefusalError, match=r"weights\.npz: No space left"),
        os_errors_as_messages(),
        path.open("wb") as handle,
    ):
        save(handle)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        RuntimeError("a bug"),
        UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range(128)"),
        KeyError("x"),
    ],
)
def test_a_bug_stays_what_it_is(error: Exception) -> None:
    """Only what the surroundings refuse becomes a message."""
    assert refusal_message(error) is None
    with pytest.raises(type(error)), os_errors_as_messages():
        raise error


def test_half_a_character_is_named_with_its_word(tmp_path: Path) -> None:
    """The word it is in, and not the whole file."""
    with (
        pytest.raises(SystemRefusalError) as caught,
        os_errors_as_messages(),
    ):
        write_json(tmp_path / "x.json", {"one": "fine", "two": "b\udcffd"})

    assert caught.value.message.startswith("'b\\udcffd' is not valid Unicode")
    assert "fine" not in caught.value.message


@pytest.mark.parametrize("limit", [0, 3_000, 20_000])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_file_that_may_grow_no_further_is_named(
    folder: Path, limit: int, form: str
) -> None:
    """Whichever it is: of the manifest, of evidence, or of predictions."""
    rows = [{"prompt": f"text {i} " + "x" * 90, "label": i % 2} for i in range(80)]
    (folder / "many.jsonl").write_text("\n".join(map(json.dumps, rows)))
    args = [*KEYWORD, "many.jsonl", "--out", "run", "--predictions", form]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        result = safebench(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    if result.exit_code or limit < 20_000:  # parquet takes less
        assert_one_line(result, "run/", "File too large")
    assert [] == [*folder.rglob("*.tmp")]
    assert 0 == safebench(*args).exit_code
