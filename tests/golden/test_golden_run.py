"""Run folders of an earlier version are read, resumed and extended unchanged."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench.results.rows import SCHEMA
from safebench.verdict_tree import ENGINE_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("golden", HERE / "golden.py")
assert _spec
assert _spec.loader
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

# what no two runs share: the machine's time and memory, what is installed
MEASURED = ("seconds", "samples_per_second", "peak_memory_mib", "versions", "commit")
# what an earlier format has otherwise
REWRITTEN = ("schema", "ci_low", "ci_high", "ci_method", "note")
REWORDED = "error"  # of a prediction: since then it shows what was written
MEASURES = ("classifier", "strategy", "dataset", "task", "metric")
CURRENT = f"format{SCHEMA}"
TODAY = f"{CURRENT}-trees{ENGINE_VERSION}"  # what is recorded where nobody says how
CODES = (1, 0)  # in the first run more samples fail than --max-failures allows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with models and data, and both golden folders beside them."""
    folder = tmp_path_factory.mktemp("golden")
    golden.build_models(folder / "models")
    for name in ("prompts.jsonl", "answers.jsonl"):
        (folder / name).write_bytes((golden.HERE / name).read_bytes())
    for archive_path in golden.HERE.glob("format*/*.tar.xz"):
        pair = f"{archive_path.parent.name}/{archive_path.name.partition('.')[0]}"
        with tarfile.open(archive_path) as archive:
            archive.extractall(folder / pair, filter="data")
    return folder


def run(place: Path, commands: Sequence[list[str]], runs: Path | None) -> Path:
    """Run commands beside the models, in a copy of the run folders; return them."""
    shutil.rmtree(place / "runs", ignore_errors=True)
    if runs:
        shutil.copytree(runs, place / "runs")
    plugins = Plugins()
    plugins.add_commands(cli)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for words, code in zip(commands, CODES, strict=True):
            result = CliRunner().invoke(cli, words, obj=plugins)
            assert code == result.exit_code, result.output
    return place / "runs"


def files(runs: Path, pattern: str) -> dict[str, Path]:
    """Return the files of a kind by their path in the folder of runs."""
    return {str(p.relative_to(runs)): p for p in sorted(runs.rglob(pattern))}


def rows(path: Path, *, timed: bool) -> list[dict[str, Any]]:
    """Return a results table without what is measured on the machine."""
    dropped = ("versions", "commit") if timed else MEASURED
    lines = map(json.loads, path.read_text().splitlines())
    kept = [row for row in lines if timed or not row["metric"].startswith("latency")]
    return [
        {k: v for k, v in row.items() if k not in dropped}
        | {"note": without_other_code(row["note"])}
        for row in kept
    ]


def without_other_code(note: str) -> str:
    """Return a note without what every later version of a plugin has to say."""
    parts = note.split("; ")
    return "; ".join(p for p in parts if not p.startswith("recorded by other code of"))


def assert_close(expected: Any, value: Any, where: str) -> None:
    """Compare JSON: numbers nearly equal, since processors round differently."""
    if isinstance(expected, float) and isinstance(value, float):
        assert math.isclose(expected, value, rel_tol=1e-3, abs_tol=1e-5), where
    elif isinstance(expected, dict):
        assert expected.keys() == value.keys(), where
        for key in expected:
            assert_close(expected[key], value[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(expected) == len(value), where
        for i, (one, other) in enumerate(zip(expected, value, strict=True)):
            assert_close(one, other, f"{where}[{i}]")
    else:
        assert expected == value, where


def assert_same_lines(expected: Path, runs: Path) -> None:
    """Compare predictions line by line, numbers nearly."""
    stored, made = (
        files(expected, "predictions/**/*.jsonl"),
        files(runs, "predictions/**/*.jsonl"),
    )
    assert stored.keys() == made.keys()
    for name, path in stored.items():
        one = [json.loads(line) for line in path.read_text().splitlines()]
        other = [json.loads(line) for line in made[name].read_text().splitlines()]
        assert_close(one, other, name)


def shards(runs: Path) -> dict[str, dict[str, Any]]:
    """Return what every shard holds by path: questions, kinds, fields, shapes."""
    found = {}
    for name, path in files(runs, "evidence/**/*.npz").items():
        with np.load(path, allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            found[name] = {
                "questions": head["questions"],
                "kinds": sorted(head["kinds"]),
                "fields": {
                    n: str(stored[n].dtype) for n in stored.files if n != "head"
                },
            }
    return found


def assert_holds(expected: dict[str, Any], record: dict[str, Any], where: str) -> None:
    """Compare what an earlier format stored: later ones may have more fields."""
    assert expected.keys() <= record.keys(), where
    assert_close(expected, {key: record[key] for key in expected}, where)


def by_metric(path: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return rows by what they measure, without what the formats differ in."""
    return {
        tuple(str(row[name]) for name in MEASURES): {
            key: value
            for key, value in row.items()
            # average precision has bounds by now
            if key not in REWRITTEN and (value is not None or "bound" not in key)
        }
        for row in rows(path, timed=True)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "name"),
    [(CURRENT, "first"), (CURRENT, "extended"), (TODAY, "extended")],
    ids=["first", "extended", "today"],
)
def test_a_stored_run_is_judged_again_to_the_same_bytes(
    place: Path, pair: str, name: str
) -> None:
    """The same command on a golden folder changes no prediction, row or evidence."""
    stored = place / pair / name / "runs"
    commands = golden.FIRST if name == "first" else golden.EXTENDED
    runs = run(place, commands, stored)

    expected = files(stored, "predictions/**/*.jsonl")
    made = files(runs, "predictions/**/*.jsonl")
    assert expected.keys() == made.keys()
    for path in expected:
        assert expected[path].read_bytes() == made[path].read_bytes(), path
    assert files(stored, "*.npz").keys() == files(runs, "*.npz").keys()
    for path, table in files(stored, "results.jsonl").items():
        assert rows(table, timed=True) == rows(runs / path, timed=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first", "extended"])
def test_a_run_of_an_earlier_format_is_resumed(place: Path, name: str) -> None:
    """Its evidence is used as it is; predictions and values stay, rows are of today."""
    stored = place / "format1" / name / "runs"
    commands = golden.FIRST if name == "first" else golden.EXTENDED
    runs = run(place, commands, stored)

    assert files(stored, "*.npz").keys() == files(runs, "*.npz").keys()
    expected = files(stored, "predictions/**/*.jsonl")
    made = files(runs, "predictions/**/*.jsonl")
    assert expected.keys() == made.keys()
    for path in expected:
        lines = [
            [json.loads(line) for line in file.read_text().splitlines()]
            for file in (expected[path], made[path])
        ]
        for number, (one, other) in enumerate(zip(*lines, strict=True)):
            assert (one.pop(REWORDED) is None) == (other[REWORDED] is None)
            assert_holds(one, other, f"{path}:{number}")
    for path, table in files(stored, "results.jsonl").items():
        earlier, now = by_metric(table), by_metric(runs / path)
        assert earlier.keys() <= now.keys()
        for key, row in earlier.items():
            assert_holds(row, now[key], f"{path}: {key}")
        assert {SCHEMA} == {row["schema"] for row in rows(runs / path, timed=True)}


@pytest.mark.slow
def test_a_golden_run_is_extended(place: Path) -> None:
    """More rows and strategies join a golden folder under the evidence keys it has."""
    stored = place / CURRENT / "extended" / "runs"
    runs = run(place, golden.EXTENDED, place / CURRENT / "first" / "runs")

    assert shards(stored) == shards(runs)
    assert_same_lines(stored, runs)
    for path, table in files(stored, "results.jsonl").items():
        expected, made = rows(table, timed=False), rows(runs / path, timed=False)
        assert_close(expected, made, path)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [CURRENT, TODAY], ids=["full", "today"])
def test_a_fresh_run_stores_what_the_golden_one_stored(place: Path, pair: str) -> None:
    """Evidence keys, kinds, fields and predictions are those of the earlier version.

    The one before today's version of trees is recorded with the option for it.
    """
    stored = place / pair / "first" / "runs"
    names = {} if pair == TODAY else {golden.GUARD: golden.FULL}
    commands = [[names.get(word, word) for word in words] for words in golden.FIRST]
    runs = run(place, commands, None)

    assert shards(stored) == shards(runs)
    assert_same_lines(stored, runs)
    for path, one in files(stored, "evidence.json").items():
        assert json.loads(one.read_text()) == json.loads((runs / path).read_text())
