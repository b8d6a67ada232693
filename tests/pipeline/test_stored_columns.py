"""What comes along with samples is stored with predictions, and slices need no data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.datasets.sample_columns import stored_columns
from safebench.plugins import Plugins
from safebench.records import GroundTruth, Label, Sample, Turn
from safebench.results.prediction_reading import read_predictions

if TYPE_CHECKING:
    from pathlib import Path

LANGUAGES = ["en", "de", None] * 4


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return what is installed."""
    return Plugins()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a file in two languages, and one without any."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"{i} bomb" if i % 2 else f"{i}", "label": i % 2, "language": code}
        for i, code in enumerate(LANGUAGES)
    ]
    for name, keys in (
        ("two", ("prompt", "label", "language")),
        ("plain", ("prompt",)),
    ):
        kept = [{k: row[k] for k in (*keys, "label")} for row in rows]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def run(plugins: Plugins, *args: str) -> None:
    """Run keyword into the folder ``out``, on all samples."""
    command = ["run", "-c", "keyword", "--out", "out", "--calibration-fraction", "0"]
    done = CliRunner().invoke(cli, [*command, *args], obj=plugins)
    assert 0 == done.exit_code, done.output


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the stored predictions of the only dataset in ``out``."""
    (path,) = (folder / "out" / "predictions").glob("*/*/*.jsonl")
    return [*map(json.loads, path.read_text().splitlines())]


def test_what_has_columns_is_stored_with_them(plugins: Plugins, folder: Path) -> None:
    """Every row then has the field, so that it is a column of parquet files, too."""
    run(plugins, "-d", "two.jsonl")

    expected = [{} if code is None else {"language": code} for code in LANGUAGES]
    assert expected == [line["columns"] for line in lines(folder)]


def test_what_has_none_is_stored_as_before(plugins: Plugins, folder: Path) -> None:
    """No field at all."""
    run(plugins, "-d", "plain.jsonl")

    assert not any("columns" in line for line in lines(folder))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_slices_need_no_data(plugins: Plugins, folder: Path, form: str) -> None:
    """A run folder that was copied without its data is sliced by stored columns."""
    run(plugins, "-d", "two.jsonl", "--predictions", form)
    command = ["analyze", "out", "--by", "language"]
    with_data = CliRunner().invoke(cli, command, obj=plugins).stdout
    (folder / "two.jsonl").unlink()

    result = CliRunner().invoke(cli, command, obj=plugins)

    (predictions,) = read_predictions(folder / "out")
    assert [{"language": "en"}, {"language": "de"}, {}] == [*predictions.columns[:3]]
    table = result.stdout.split("By language\n")[1].splitlines()
    # language, samples, positives
    assert ["de 4 2", "en 4 2"] == [" ".join(row.split()[:3]) for row in table[2:4]]
    assert "known for 8 of 12 samples" in result.stdout
    assert "could not be read again" in result.stdout
    assert with_data.split("By language\n")[1].splitlines()[2:4] == table[2:4]
    assert "could not be read again" not in with_data


def test_prompts_and_long_texts_are_not_stored() -> None:
    """Nor what JSON has no number for; turns only where they differ."""
    user = Turn("user", "hello")
    truth = GroundTruth(
        label=Label(value=True),
        meta={"long": "x" * 81, "short": "x" * 80, "list": [1], "nan": float("nan")}
        | {"flag": True, "empty": None, "ratings": {"Yes": 1}},
    )
    one = Sample(id="1", turns=(user,), transform="base64")
    two = Sample(id="2", turns=(user, user), meta={"source": "forum"})

    first, second = stored_columns([(one, truth), (two, truth)], without_turns=False)

    shared = {"short": "x" * 80, "flag": True, "empty": None}
    assert shared | {"transform": "base64", "turns": 1} == first
    assert shared | {"source": "forum", "turns": 2} == second
    assert "turns" not in next(stored_columns([(one, truth)], without_turns=True))
