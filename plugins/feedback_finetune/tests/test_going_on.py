"""A collection that was interrupted, added to, or asked by other means."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from safebench.run.manifest import locked
from safebench_feedback_finetune.exchanges import Collecting
from safebench_feedback_finetune.records import read_collected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A shell makes its background jobs ignore Ctrl-C, and their children inherit that.
HEED = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
CHUNKS = ("--save-every", 4)


@pytest.fixture(scope="module")
def calm(
    many: Path, collect: Callable[..., int], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of a command that nobody disturbed, in chunks of 4."""
    out = tmp_path_factory.mktemp("calm") / "out"
    assert 0 == collect(many, out, *CHUNKS)
    return out


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--threshold", 0.6), "threshold: 0.5 there, 0.6 asked for"),
        (("--policy", "llama-guard-2"), "guard.policy"),
        (("--adapter", "LORA"), "guard.adapter"),
    ],
)
def test_other_means_are_refused_in_the_same_folder(
    rows: Path,
    tmp_path: Path,
    make_adapter: Callable[[float], Path],
    capsys: pytest.CaptureFixture[str],
    args: tuple[Any, ...],
    named: str,
    collect: Callable[..., int],
) -> None:
    """Exit code 2, and what differs is named; nothing is appended."""
    collect(rows, tmp_path / "out")
    before = (tmp_path / "out" / "collected.jsonl").read_bytes()
    given = [make_adapter(0.0) if arg == "LORA" else arg for arg in args]

    assert 2 == collect(rows, tmp_path / "out", *given)
    assert named in capsys.readouterr().err
    assert before == (tmp_path / "out" / "collected.jsonl").read_bytes()


def test_a_foreign_folder_is_refused(
    rows: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    collect: Callable[..., int],
) -> None:
    """A folder of something else stays as it is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")

    assert 2 == collect(rows, tmp_path / "out")
    assert "thesis.tex" in capsys.readouterr().err
    assert ["thesis.tex"] == [p.name for p in (tmp_path / "out").iterdir()]


def test_another_dataset_joins_what_is_there(
    rows: Path,
    tmp_path: Path,
    collect: Callable[..., int],
    write_rows: Callable[..., Path],
    pairs: Any,
) -> None:
    """Records of a first dataset stay; a prompt that is there is not asked again."""
    collect(rows, tmp_path / "out")
    more = [*pairs[:2], ("Where is Rome?", "In Italy.", "safe")]
    other = write_rows(tmp_path / "more.jsonl", more, "prompt", "response", "label")

    assert 0 == collect(other, tmp_path / "out")

    found = [(r.prompt, r.response) for r in read_collected(tmp_path / "out")]
    said = [(prompt, response) for prompt, response, _ in pairs]
    assert [*said, ("Where is Rome?", "In Italy.")] == found
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert ["rows.jsonl:all", "more.jsonl:all"] == [
        source["name"] for source in manifest["sources"]
    ]


def test_a_torn_line_is_asked_again(
    many: Path, calm: Path, tmp_path: Path, collect: Callable[..., int]
) -> None:
    """Cut in the middle of a line and of a chunk: going on gives the same bytes."""
    out = tmp_path / "out"
    shutil.copytree(calm, out)
    whole = (calm / "collected.jsonl").read_bytes()
    in_a_line = whole.rindex(b"\n", 0, len(whole) // 2) + 20
    (out / "collected.jsonl").write_bytes(whole[:in_a_line])
    (out / "blocked_inputs.jsonl").unlink()

    assert 0 == collect(many, out, *CHUNKS)

    names = ("collected.jsonl", "blocked_inputs.jsonl", "manifest.json")
    for name in names:
        assert (calm / name).read_bytes() == (out / name).read_bytes()


def test_answers_that_were_cut_off_are_drawn_again_the_same(
    many: Path, tmp_path: Path, talker: Path, collect: Callable[..., int]
) -> None:
    """Going on with a language model gives the answers of an undisturbed command."""
    args = (
        *("--generator", talker, "--max-new-tokens", 4),
        *("--limit", 24, "--save-every", 8),
    )
    collect(many, tmp_path / "out", *args)
    file = tmp_path / "out" / "collected.jsonl"
    calm = file.read_bytes()
    file.write_bytes(calm[: len(calm) // 2])

    assert 0 == collect(many, tmp_path / "out", *args)

    assert calm == file.read_bytes()


def test_what_is_finished_is_not_asked_again(
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    collect: Callable[..., int],
) -> None:
    """A second command reads the folder and asks no guard anything."""
    collect(rows, tmp_path / "out")
    asked: list[int] = []
    monkeypatch.setattr(Collecting, "chunk", lambda *a: asked.append(1))

    assert 0 == collect(rows, tmp_path / "out")
    assert [] == asked


def test_ctrl_c_loses_nothing_and_going_on_gives_the_same(
    many: Path, calm: Path, tmp_path: Path, collect: Callable[..., int]
) -> None:
    """Exit code 130, whole lines, status interrupted; then as if undisturbed."""
    out = tmp_path / "out"
    command = ["-m", "safebench", "feedback", "collect", "-d", many, "--out", out]
    process = subprocess.Popen(
        [sys.executable, "-c", HEED, *map(str, (*command, *CHUNKS))],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    file = out / "collected.jsonl"
    while process.poll() is None and not (file.exists() and file.stat().st_size):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    kept = read_collected(out)
    status = json.loads((out / "manifest.json").read_text())["status"]
    assert 130 == process.returncode, err
    assert b"interrupted" in err
    assert "interrupted" == status
    assert 0 < len(kept) < 60
    assert 0 == collect(many, out, *CHUNKS)
    assert (calm / "collected.jsonl").read_bytes() == file.read_bytes()


def test_a_command_that_was_stopped_before_it_asked_goes_on(
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    collect: Callable[..., int],
    pairs: Any,
) -> None:
    """Ctrl-C while the guard is loaded: exit code 130, and the folder is usable."""

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("safebench_feedback_finetune.collect.open_guard", stopped)
        assert 130 == collect(rows, tmp_path / "out")

    assert 0 == collect(rows, tmp_path / "out")
    assert len(pairs) == len(read_collected(tmp_path / "out"))


def test_a_second_command_in_the_same_folder_stops(
    rows: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    collect: Callable[..., int],
) -> None:
    """Exit code 2 and one line while another one is writing; then it may go on."""
    out = tmp_path / "out"
    with locked(out):
        assert 2 == collect(rows, out)
        said = capsys.readouterr().err
        assert f"another safebench run is writing to {out}" in said
        assert [".lock"] == [path.name for path in out.iterdir()]

    assert 0 == collect(rows, out)


def test_a_folder_in_which_nothing_was_asked_takes_other_means(
    rows: Path,
    tmp_path: Path,
    collect: Callable[..., int],
) -> None:
    """A language model that could not be loaded does not bind the folder."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    (tmp_path / "broken" / "model.safetensors").write_text("")

    assert 2 == collect(rows, tmp_path / "out", "--generator", tmp_path / "broken")
    assert 0 == collect(rows, tmp_path / "out")
