"""A repeat on a large file reads its columns, and writes what reading its rows does."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.datasets import files, record_spool
from safebench.plugins import Plugins


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of one's own with a file that counts as large."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(record_spool, "BLOCK", 8)
    monkeypatch.setattr(record_spool, "MAX_IN_MEMORY", 16)
    write(60)


def write(n: int, word: str = "bomb") -> None:
    """Write `n` rows with what a row may have, and one that is left out."""
    rows = (
        {
            "prompt": f"{i} {word if i % 3 else 'tea'}",
            "label": "unsafe" if i % 2 else "safe",
            "categories": ["S1"] if i % 2 else [],
            "language": "de" if i % 5 else "en",
            **({"group": "g"} if i % 7 == 0 else {}),
        }
        for i in range(n)
    )
    lines = [*map(json.dumps, rows), '{"prompt": "what is this?", "label": "odd"}']
    Path("rows.jsonl").write_text("\n".join(lines))


def run(plugins: Plugins, *words: str, out: str = "out") -> str:
    """Run the keyword guard; return what it says."""
    command = ["run", "-c", "keyword", "-d", "rows.jsonl", "--on-bad-row", "skip"]
    command += ["--out", out, *words]
    result = CliRunner().invoke(cli, command, obj=plugins)
    assert 0 == result.exit_code, result.output
    return result.output


def stored(out: str = "out") -> tuple[bytes, bytes]:
    """Return the predictions and the rows of a run."""
    (path,) = Path(out).glob("predictions/*/*/*.jsonl")
    return path.read_bytes(), Path(out, "results.jsonl").read_bytes()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each time that the rows of a file are read."""
    noted: list[str] = []
    read = files._read_file

    def note(path: Path, *args: Any) -> Any:
        noted.append(path.name)
        return read(path, *args)

    monkeypatch.setattr(files, "_read_file", note)
    return noted


def columns() -> Path:
    """Return the file of columns of the run."""
    (path,) = Path("out", "columns").iterdir()
    return path


@pytest.mark.parametrize("options", [(), ("--limit", "20")])
def test_a_repeat_writes_the_same_and_reads_no_row(
    options: tuple[str, ...], plugins: Plugins, reads: list[str]
) -> None:
    """Predictions and results, with categories, columns and parts; notes are said."""
    said = run(plugins, *options)
    first = stored()
    reads.clear()

    again = run(plugins, *options)

    assert [] == reads
    assert first == stored()
    notes = [[w for w in text.splitlines() if w[:2] == "- "] for text in (said, again)]
    assert notes[0] == notes[1]
    assert "1 row left out" in again


@pytest.mark.parametrize(
    "options", [("--set", "score.threshold=0.9"), ("-s", "S=score")]
)
def test_another_strategy_reads_no_row_either(
    options: tuple[str, ...], plugins: Plugins, reads: list[str]
) -> None:
    """Results are those of a run that read all."""
    run(plugins)
    reads.clear()
    run(plugins, *options)
    assert [] == reads
    shutil.rmtree("out/columns")
    before = Path("out/results.jsonl").read_bytes()
    run(plugins, *options)
    assert ["rows.jsonl"] == reads
    assert before == Path("out/results.jsonl").read_bytes()


def test_evidence_that_is_missing_reads_the_texts(
    plugins: Plugins, reads: list[str]
) -> None:
    """Where it was deleted, and of another guard: as in a folder without columns."""
    run(plugins)
    first = stored()[0]
    shutil.rmtree("out/evidence")
    reads.clear()

    run(plugins)

    assert ["rows.jsonl"] == reads
    assert first == stored()[0]


@pytest.mark.parametrize("same_size", [True, False])
def test_a_changed_file_is_read(
    same_size: bool, plugins: Plugins, reads: list[str]
) -> None:
    """Also one of the same size and the same times."""
    run(plugins)
    before, times = columns().read_bytes(), Path("rows.jsonl").stat()
    write(60 if same_size else 61, "kill" if same_size else "bomb")
    os.utime("rows.jsonl", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert same_size == (Path("rows.jsonl").stat().st_size == times.st_size)
    reads.clear()

    if same_size:  # other rows: results of both would stand side by side
        command = ["run", "-c", "keyword", "-d", "rows.jsonl", "--on-bad-row", "skip"]
        command += ["--out", "out"]
        result = CliRunner().invoke(cli, command, obj=plugins)
        assert 2 == result.exit_code
        assert "holds results of other data" in result.output
        assert ["rows.jsonl"] == reads
        return
    run(plugins)
    assert ["rows.jsonl"] == reads
    assert before != columns().read_bytes()
    assert 61 == len(stored()[0].splitlines())


def test_damaged_columns_are_written_again(plugins: Plugins, reads: list[str]) -> None:
    """And said to be; results are the same."""
    run(plugins)
    first, whole = stored(), columns().read_bytes()
    path = columns()
    path.write_bytes(whole[: len(whole) // 2])
    reads.clear()

    said = run(plugins)

    assert "is damaged" in said
    assert str(path) in said
    assert ["rows.jsonl"] == reads
    assert first == stored()
    reads.clear()
    assert "is damaged" not in run(plugins)
    assert [] == reads


@pytest.mark.parametrize("described", [True, False])
def test_an_analysis_is_the_same(
    described: bool, plugins: Plugins, reads: list[str]
) -> None:
    """Where only labels are beside the texts it reads none of them."""
    if not described:
        lines = Path("rows.jsonl").read_text().splitlines()[:-1]
        rows = [{k: json.loads(line)[k] for k in ("prompt", "label")} for line in lines]
        Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run(plugins)
    reads.clear()

    def analyze(*words: str) -> str:
        result = CliRunner().invoke(cli, ["analyze", "out", *words], obj=plugins)
        assert 0 == result.exit_code, result.output
        return result.stdout

    first = analyze()
    assert described == bool(reads)
    with_texts = analyze("--text")
    shutil.rmtree("out/columns")
    assert first == analyze()
    assert with_texts == analyze("--text")
    assert "By length" in first


def test_few_rows_are_not_kept(plugins: Plugins) -> None:
    """They are read as fast as their columns would be."""
    write(10)
    run(plugins)
    assert not Path("out", "columns").exists()


def test_the_folder_without_a_name_has_them_too(
    plugins: Plugins, reads: list[str]
) -> None:
    """It is known from the names of guard and file before any row is read."""
    for expected in (["rows.jsonl"], []):
        reads.clear()
        result = CliRunner().invoke(
            cli,
            ["run", "-c", "keyword", "-d", "rows.jsonl", "--on-bad-row", "skip"],
            obj=plugins,
        )
        assert 0 == result.exit_code, result.output
        assert expected == reads
