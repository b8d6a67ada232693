"""Predictions of an earlier run never stand beside the rows of a later one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.errors import RunFolderError
from safebench.plugins import Plugins
from safebench.results import read_rows
from safebench.results.prediction_reading import read_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST = ("--limit", "60")
AGAIN = ("--limit", "90", "--set", "score.threshold=0.9")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder of one's own."""
    monkeypatch.chdir(tmp_path)


def run(*words: str, code: int = 0) -> str:
    """Run the keyword guard by two strategies; return what it says."""
    command = ["run", "-c", "keyword", "-s", "score", "-s", "Other=score", "--out", "r"]
    plugins = Plugins()
    plugins.add_commands(cli)
    result = CliRunner().invoke(cli, [*command, *words], obj=plugins)
    assert code == result.exit_code, result.output
    return result.output


def stored() -> list[Path]:
    """Return the prediction files of the run."""
    return sorted(Path("r").glob("predictions/*/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("before", ["jsonl", "parquet"])
@pytest.mark.parametrize("after", ["jsonl", "parquet", "none"])
def test_predictions_are_of_the_run_that_wrote_the_rows(
    before: str, after: str
) -> None:
    """In each order of the forms: other samples, another threshold."""
    run(*FIRST, "--predictions", before)
    run(*AGAIN, "--predictions", after)

    assert {f".{after}"} - {".none"} == {path.suffix for path in stored()}
    rows = {row.strategy: row for row in read_rows(Path("r/results.jsonl"))}
    if after == "none":
        assert [] == stored()
        with pytest.raises(RunFolderError, match="again without `--predictions none`"):
            read_predictions(Path("r"))
        return
    for predictions in read_predictions(Path("r")):
        row = rows[predictions.strategy]
        assert row.n == predictions.n
        assert row.threshold == predictions.threshold
        decided = (predictions.score >= row.threshold).tolist()
        assert decided == predictions.decision.astype(bool).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError])
def test_an_interruption_before_the_rows_leaves_no_new_predictions(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Whatever ends the writing of rows: old rows have no predictions beside them."""
    run(*FIRST)
    before = Path("r/results.jsonl").read_bytes()

    def failing(path: Path, rows: Sequence[object]) -> None:
        raise error("no space")

    with monkeypatch.context() as patch:
        patch.setattr("safebench.results.merge_rows", failing)
        plugins = Plugins()
        plugins.add_commands(cli)
        words = ["run", "-c", "keyword", "-s", "score", "--out", "r", *AGAIN]
        result = CliRunner().invoke(cli, words, obj=plugins)

    assert 0 != result.exit_code
    assert before == Path("r/results.jsonl").read_bytes()
    shown = [json.loads(path.read_text().split("\n")[0]) for path in stored()]
    assert ["Other"] == [line["strategy"] for line in shown]

    run(*AGAIN)
    assert 2 == len(stored())
    assert [] == list(Path("r").rglob(".*.tmp"))


@pytest.mark.slow
def test_labels_that_differ_in_a_slash_or_in_case_have_files_of_their_own() -> None:
    """And a label that is a place is refused in one line."""
    labels = ("a/b", "a_b", "A_b", "\u00e4_b")
    plugins = Plugins()
    plugins.add_commands(cli)
    words = ["run", "--limit", "40", "--out", "r"]
    for label in labels:
        words += ["-c", f"{label}=keyword", "-s", f"{label}=score"]
    result = CliRunner().invoke(cli, words, obj=plugins)
    assert 0 == result.exit_code, result.output

    read = {(p.classifier, p.strategy) for p in read_predictions(Path("r"))}
    assert {(one, other) for one in labels for other in labels} == read
    for label in ("..", ".", "/", "a\x00b", "--"):
        for words in (["-c", f"{label}=keyword"], ["-s", f"{label}=score"]):
            command = ["run", "-c", "keyword", *words, "--out", "x"]
            refused = CliRunner().invoke(cli, command, obj=plugins)
            assert 2 == refused.exit_code, label
            assert 1 == len(refused.output.splitlines())
    assert not Path("x").exists()
