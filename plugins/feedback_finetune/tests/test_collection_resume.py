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

from safebench import lock_folder
from safebench_feedback_finetune.collect.collection_folder import read_collection
from safebench_feedback_finetune.collect.exchanges import ChunkCollector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A shell makes its background jobs ignore Ctrl-C, and their children inherit that.
# The tenth chunk waits, so that a test need not be quick to interrupt the command.
INTERRUPTIBLE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from safebench.cli import main
from safebench_feedback_finetune.collect.exchanges import ChunkCollector
collect, begun = ChunkCollector.collect, []
def held(*args, **options):
    begun.append(1)
    if len(begun) == 10:
        time.sleep(240)
    return collect(*args, **options)
ChunkCollector.collect = held
main()
"""
CHUNKS = ("--save-every", 4)


@pytest.fixture(scope="module")
def undisturbed(
    many_rows: Path,
    run_collect: Callable[..., int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the folder of a command that nobody disturbed, in chunks of 4."""
    out = tmp_path_factory.mktemp("calm") / "out"
    assert 0 == run_collect(many_rows, out, *CHUNKS)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--threshold", 0.6), "threshold: 0.5 there, 0.6 asked for"),
        (("--policy", "llama-guard-2"), "guard.policy"),
        (("--adapter", "LORA"), "guard.adapter"),
    ],
)
def test_another_identity_is_refused_in_the_same_folder(
    rows_file: Path,
    tmp_path: Path,
    make_adapter: Callable[[float], Path],
    capsys: pytest.CaptureFixture[str],
    args: tuple[Any, ...],
    named: str,
    run_collect: Callable[..., int],
) -> None:
    """Exit code 2, and what differs is named; nothing is appended."""
    run_collect(rows_file, tmp_path / "out")
    before = (tmp_path / "out" / "collected.jsonl").read_bytes()
    arguments = [make_adapter(0.0) if arg == "LORA" else arg for arg in args]

    assert 2 == run_collect(rows_file, tmp_path / "out", *arguments)
    assert named in capsys.readouterr().err
    assert before == (tmp_path / "out" / "collected.jsonl").read_bytes()


def test_a_foreign_folder_is_refused(
    rows_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run_collect: Callable[..., int],
) -> None:
    """A folder of something else stays as it is."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")

    assert 2 == run_collect(rows_file, tmp_path / "out")
    assert "thesis.tex" in capsys.readouterr().err
    assert ["thesis.tex"] == [p.name for p in (tmp_path / "out").iterdir()]


@pytest.mark.slow
def test_another_dataset_joins_the_collection(
    rows_file: Path,
    tmp_path: Path,
    run_collect: Callable[..., int],
    write_rows: Callable[..., Path],
    labelled_pairs: Any,
) -> None:
    """Records of a first dataset stay; a prompt that is there is not asked again."""
    run_collect(rows_file, tmp_path / "out")
    more = [*labelled_pairs[:2], ("Where is Rome?", "In Italy.", "safe")]
    other = write_rows(tmp_path / "more.jsonl", more, "prompt", "response", "label")

    assert 0 == run_collect(other, tmp_path / "out")

    records_found = [(r.prompt, r.response) for r in read_collection(tmp_path / "out")]
    earlier = [(prompt, response) for prompt, response, _ in labelled_pairs]
    assert [*earlier, ("Where is Rome?", "In Italy.")] == records_found
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert ["rows.jsonl:all", "more.jsonl:all"] == [
        source["name"] for source in manifest["sources"]
    ]


@pytest.mark.slow
def test_a_partial_line_is_collected_again(
    many_rows: Path, undisturbed: Path, tmp_path: Path, run_collect: Callable[..., int]
) -> None:
    """Cut in the middle of a line and of a chunk: going on gives the same bytes."""
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    complete = (undisturbed / "collected.jsonl").read_bytes()
    within_a_line = complete.rindex(b"\n", 0, len(complete) // 2) + 20
    (out / "collected.jsonl").write_bytes(complete[:within_a_line])
    (out / "blocked_inputs.jsonl").unlink()

    assert 0 == run_collect(many_rows, out, *CHUNKS)

    names = ("collected.jsonl", "blocked_inputs.jsonl", "manifest.json")
    for name in names:
        assert (undisturbed / name).read_bytes() == (out / name).read_bytes()


@pytest.mark.slow
def test_interrupted_answers_are_generated_the_same_again(
    many_rows: Path,
    tmp_path: Path,
    language_model: Path,
    run_collect: Callable[..., int],
) -> None:
    """Going on with a language model gives the answers of an undisturbed command."""
    args = (
        *("--generator", language_model, "--max-new-tokens", 4),
        *("--limit", 24, "--save-every", 8),
    )
    run_collect(many_rows, tmp_path / "out", *args)
    file = tmp_path / "out" / "collected.jsonl"
    undisturbed = file.read_bytes()
    file.write_bytes(undisturbed[: len(undisturbed) // 2])

    assert 0 == run_collect(many_rows, tmp_path / "out", *args)

    assert undisturbed == file.read_bytes()


@pytest.mark.slow
def test_finished_chunks_are_not_processed_again(
    rows_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_collect: Callable[..., int],
) -> None:
    """A second command reads the folder and asks no guard anything."""
    run_collect(rows_file, tmp_path / "out")
    processed: list[int] = []
    monkeypatch.setattr(ChunkCollector, "collect", lambda *a: processed.append(1))

    assert 0 == run_collect(rows_file, tmp_path / "out")
    assert [] == processed


@pytest.mark.slow
def test_ctrl_c_loses_nothing_and_resuming_gives_the_same_bytes(
    many_rows: Path, undisturbed: Path, tmp_path: Path, run_collect: Callable[..., int]
) -> None:
    """Exit code 130, whole lines, status interrupted; then as if undisturbed."""
    out = tmp_path / "out"
    command = ["feedback", "collect", "-d", many_rows, "--out", out]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *map(str, (*command, *CHUNKS))],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    file = out / "collected.jsonl"
    while process.poll() is None and not (file.exists() and file.stat().st_size):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)

    records = read_collection(out)
    status = json.loads((out / "manifest.json").read_text())["status"]
    assert 130 == process.returncode, err
    assert b"interrupted" in err
    assert "interrupted" == status
    assert 0 < len(records) < 60
    assert 0 == run_collect(many_rows, out, *CHUNKS)
    assert (undisturbed / "collected.jsonl").read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_a_command_interrupted_while_loading_can_be_repeated(
    rows_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_collect: Callable[..., int],
    labelled_pairs: Any,
) -> None:
    """Ctrl-C while the guard is loaded: exit code 130, and the folder is usable."""

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(
            "safebench_feedback_finetune.collect.collection_loop.load_verdict_scorer",
            interrupt,
        )
        assert 130 == run_collect(rows_file, tmp_path / "out")

    assert 0 == run_collect(rows_file, tmp_path / "out")
    assert len(labelled_pairs) == len(read_collection(tmp_path / "out"))


@pytest.mark.slow
def test_a_second_command_in_the_same_folder_stops(
    rows_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run_collect: Callable[..., int],
) -> None:
    """Exit code 2 and one line while another one is writing; then it may go on."""
    out = tmp_path / "out"
    with lock_folder(out):
        assert 2 == run_collect(rows_file, out)
        earlier = capsys.readouterr().err
        assert f"another safebench run is writing to {out}" in earlier
        assert [".lock"] == [path.name for path in out.iterdir()]

    assert 0 == run_collect(rows_file, out)


@pytest.mark.slow
def test_a_folder_without_records_takes_another_identity(
    rows_file: Path,
    tmp_path: Path,
    run_collect: Callable[..., int],
) -> None:
    """A language model that could not be loaded does not bind the folder."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    (tmp_path / "broken" / "model.safetensors").write_text("")

    assert 2 == run_collect(
        rows_file, tmp_path / "out", "--generator", tmp_path / "broken"
    )
    assert 0 == run_collect(rows_file, tmp_path / "out")
