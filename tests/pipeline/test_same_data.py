"""A run folder is about some rows, and not about the name of their file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from safebench.cli import cli
from safebench.plugins import Plugins

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    {"prompt": f"text {i} {'bomb' * (i % 2)}", "label": i % 2, "group": f"g{i}"}
    for i in range(40)
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder of one's own, and return it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows as JSON lines; return the file's name for ``-d``."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(data: str, *words: str) -> Result:
    """Run the keyword guard on a file, in the default folder."""
    plugins = Plugins()
    plugins.add_commands(cli)
    return CliRunner().invoke(
        cli, ["run", "-c", "keyword", "-d", data, *words], obj=plugins
    )


def stored(place: Path) -> dict[str, bytes]:
    """Return the bytes of rows and predictions."""
    folder = place / "runs" / "keyword-data.jsonl"
    paths = [folder / "results.jsonl", *folder.glob("predictions/*/*/*")]
    return {str(path): path.read_bytes() for path in paths}


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        [{**row, "prompt": f"other {row['prompt']}"} for row in ROWS],
        [*ROWS[:-1], {**ROWS[-1], "label": 0}],
        [{**ROWS[0], "group": "another"}, *ROWS[1:]],
        ROWS[::-1],
        ROWS[:-1],
        [ROWS[1], *ROWS],
    ],
)
def test_other_content_of_one_name_is_refused(
    place: Path, other: list[dict[str, Any]]
) -> None:
    """In one line, before anything is overwritten; another folder takes it."""
    assert 0 == run(write(place / "a" / "data.jsonl", ROWS)).exit_code
    before = stored(place)

    refused = run(write(place / "b" / "data.jsonl", other))
    elsewhere = run(str(place / "b" / "data.jsonl"), "--out", "elsewhere")

    assert 2 == refused.exit_code
    assert "holds results of other data called data.jsonl:all" in refused.output
    assert "name another folder with --out" in refused.output
    assert 1 == len(refused.output.splitlines())
    assert before == stored(place)
    assert 0 == elsewhere.exit_code


@pytest.mark.slow
def test_appended_rows_extend_a_run(place: Path) -> None:
    """Twice, under a limit too; and the longer file is then the one that counts."""
    data = place / "data.jsonl"
    assert 0 == run(write(data, ROWS[:20]), "--limit", "10").exit_code
    for n in (30, 40):
        extended = run(write(data, ROWS[:n]))
        assert 0 == extended.exit_code, extended.output

    shortened = run(write(data, ROWS[:20]))

    assert 2 == shortened.exit_code
    assert "40 rows there, 20 asked for" in shortened.output
    manifest = json.loads(
        (place / "runs" / "keyword-data.jsonl" / "manifest.json").read_text()
    )
    assert 40 == manifest["data"]["data.jsonl:all"]["rows"]


@pytest.mark.slow
def test_a_folder_without_results_takes_a_corrected_file(place: Path) -> None:
    """Evidence is found by the texts: nothing in the folder is about other rows."""
    data = write(place / "data.jsonl", ROWS)
    assert 0 == run(data).exit_code
    folder = place / "runs" / "keyword-data.jsonl"
    (folder / "results.jsonl").unlink()
    (folder / "predictions").rename(place / "gone")

    assert 0 == run(write(place / "data.jsonl", ROWS[1:])).exit_code


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, [], {"data.jsonl:all": 3}, {"other": {}}])
def test_a_folder_of_an_early_version_is_resumed(place: Path, value: Any) -> None:
    """It does not say which rows it is about; from now on it does."""
    data = write(place / "data.jsonl", ROWS)
    assert 0 == run(data).exit_code
    path = place / "runs" / "keyword-data.jsonl" / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "data": value}))

    assert 0 == run(data).exit_code
    assert 40 == json.loads(path.read_text())["data"]["data.jsonl:all"]["rows"]
