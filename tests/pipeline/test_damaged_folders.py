"""A damaged run folder is mended by the next run, or the run says what to delete."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from collections.abc import Callable

N_DAMAGED = 30
COMMAND = [
    *("run", "-c", "keyword", "-d", "data.jsonl", "--out", "run", "--shard-size", "7"),
    *("-s", "score", "-s", "other=score,threshold=0.3"),
]
SHARD = "evidence/*/main/00002.npz"


def run() -> Result:
    """Run the keyword guard by two strategies, in seven shards."""
    plugins = Plugins()
    plugins.add_commands(cli)
    return CliRunner().invoke(cli, COMMAND, obj=plugins)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data and a finished run."""
    place = tmp_path_factory.mktemp("whole")
    rows = [
        {"prompt": f"text {i} {'how to make a bomb' * (i % 2)}", "label": i % 2}
        for i in range(45)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (place / "data.jsonl").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert 0 == run().exit_code
    return place


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run folder to damage."""
    shutil.copytree(whole, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    return Path("run")


def contents(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """Return predictions by path, and what the rows say."""
    paths = sorted(folder.glob("predictions/*/*/*.jsonl"))
    lines = (folder / "results.jsonl").read_text().splitlines()
    kept = ("strategy", "metric", "value", "n", "ci_low", "note")
    rows = [{k: row[k] for k in kept} for row in map(json.loads, lines)]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}, sorted(
        map(str, rows)
    )


def one(folder: Path, pattern: str) -> Path:
    """Return the one file of a pattern."""
    (path,) = folder.glob(pattern)
    return path


def assert_mended(folder: Path, expected: Any, result: Result, name: str) -> None:
    """Check that a part was named and kept beside, and that all is as before."""
    assert 0 == result.exit_code, result.output
    (line,) = (line for line in result.output.splitlines() if "set aside as" in line)
    assert name in line
    assert list(folder.rglob("*.set-aside"))
    assert expected == contents(folder)
    again = run()
    assert 0 == again.exit_code
    assert "set aside" not in again.output
    assert "loading" not in again.output


def without(name: str) -> Callable[[Path], None]:
    """Return a damage: a shard of an early version whose header lacks a field."""

    def damage(path: Path) -> None:
        with np.load(path) as stored:
            arrays = dict(stored)
        header = json.loads(arrays["head"].tobytes())
        for field in (name, "key", "recorder"):
            header.pop(field, None)
        arrays["head"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        np.savez(path, **arrays)

    return damage


def flip(share: float) -> Callable[[Path], None]:
    """Return a damage: one flipped bit, that far into the file."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(share * (len(content) - 1))] ^= 16
        path.write_bytes(content)

    return damage


def cut(path: Path) -> None:
    """Damage a file as a full disk does."""
    path.write_bytes(path.read_bytes()[:-9])


def text(content: str) -> Callable[[Path], None]:
    """Return a damage: other text."""
    return lambda path: path.write_text(content) and None


def folder_in_place(path: Path) -> None:
    """Put a folder where a file was."""
    path.unlink()
    path.mkdir()


def link_to_nothing(path: Path) -> None:
    """Put a link where a file was, whose target is gone."""
    path.unlink()
    path.symlink_to("gone")


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        *map(flip, (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999, 1.0)),
        *map(without, ("questions", "kinds", "traces")),
        *(cut, folder_in_place, link_to_nothing, text(""), text("[" * 100_000)),
    ],
)
def test_a_damaged_shard_is_recorded_again(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    """And no other: the samples of one shard are asked about."""
    expected = contents(folder)
    damage(one(folder, SHARD))

    result = run()

    assert "7/7" in result.output
    assert_mended(folder, expected, result, "00002.npz")


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"request": {}}',
        "[" * 100_000,
        '{"request":1,"facts":1}',
    ],
)
def test_a_damaged_description_of_evidence_is_written_again(
    folder: Path, content: str
) -> None:
    """The evidence is kept: shards know their key."""
    expected = contents(folder)
    path = one(folder, "evidence/*/evidence.json")
    before = path.read_bytes()
    path.write_text(content)

    result = run()

    assert 0 == result.exit_code, result.output
    assert "45/45" not in result.output
    assert before == path.read_bytes()
    assert_mended(folder, expected, result, "evidence.json")


@pytest.mark.slow
@pytest.mark.parametrize("value", [{"models": None}, {"models": []}, {"commands": "x"}])
def test_a_manifest_with_damaged_parts_is_written_again(
    folder: Path, value: dict[str, Any]
) -> None:
    """Its identity is whole, so that nobody doubts whose run it is."""
    expected = contents(folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | value))

    result = run()

    assert_mended(folder, expected, result, "manifest.json")
    manifest = json.loads(path.read_text())
    assert {"keyword"} == set(manifest["models"])
    assert isinstance(manifest["commands"], list)


@pytest.mark.slow
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"identity": 1}', "[" * 100_000]
)
def test_a_manifest_that_does_not_say_whose_run_it_is_is_not_guessed(
    folder: Path, content: str
) -> None:
    """The message says what to delete, and doing so helps."""
    expected = contents(folder)
    (folder / "manifest.json").write_text(content)

    refused = run()
    (folder / "manifest.json").unlink()
    after = run()

    assert 2 == refused.exit_code
    assert "delete run/manifest.json" in refused.output
    assert 1 == len(refused.output.splitlines())
    assert 0 == after.exit_code
    assert expected == contents(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        cut,
        *map(text, ("{", "\nnull\n", "[" * 100_000, '{"run": "\\ud800"}', "\x00")),
        lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()) and None,
        folder_in_place,
    ],
)
def test_a_damaged_table_is_computed_again(
    folder: Path, damage: Callable[[Path], None]
) -> None:
    """Rows that can be read are kept."""
    expected = contents(folder)
    damage(folder / "results.jsonl")

    result = run()

    assert_mended(folder, expected, result, "results.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(N_DAMAGED))
def test_no_damage_ends_in_a_traceback_or_in_other_numbers(
    folder: Path, seed: int
) -> None:
    """Whatever is damaged, and however: mended, or refused with what to do."""
    expected = contents(folder)
    chance = random.Random(seed)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    for path in chance.sample(files, chance.choice([1, 1, 2])):
        damages: list[Callable[[Path], Any]] = [
            flip(chance.random()),
            cut,
            folder_in_place,
            link_to_nothing,
            text(chance.choice(["", "null", "{}", "[]", "[" * 100_000])),
            lambda path: path.write_bytes(chance.randbytes(99)),
            lambda path: path.unlink(),
        ]
        chance.choice(damages)(path)

    result = run()

    if result.exit_code:
        assert 2 == result.exit_code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "delete" in result.output or "--out" in result.output
    else:
        assert expected == contents(folder)
        assert "set aside" not in run().output
