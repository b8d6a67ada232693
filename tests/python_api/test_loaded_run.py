"""Frames of a run hold what its files hold, read here by plain JSON."""

from __future__ import annotations

import json
import shutil
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from safebench import load_run
from safebench.errors import (
    DataError,
    OptionError,
    RunFolderError,
    SafebenchError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from safebench import LoadedRun

    Write = Callable[..., LoadedRun[pd.DataFrame]]


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def plain(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a frame, with None for each <NA>; nothing else is null."""
    assert not any(value is None for name in frame.columns for value in frame[name])
    columns = {
        name: [None if value is pd.NA else value for value in frame[name].array]
        for name in frame.columns
    }
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]


@pytest.mark.parametrize("name", ["prompts", "answers"])
def test_rows_are_the_lines_of_the_results(golden_runs: Path, name: str) -> None:
    """Value by value; fields that an old line lacks are null."""
    folder = golden_runs / name
    stored = json_lines(folder / "results.jsonl")
    rows = plain(load_run(folder).rows)

    assert len(stored) == len(rows) > 50
    for line, row in zip(stored, rows, strict=True):
        assert line == {key: row[key] for key in line}
        assert {None} >= {row[key] for key in row.keys() - line.keys()}


def test_predictions_are_the_lines_of_all_files(golden_runs: Path) -> None:
    """Nothing is added but `calibrator`, nothing lost, and nulls are <NA>."""
    folder = golden_runs / "prompts"
    stored = [
        line
        for path in sorted((folder / "predictions").rglob("*.jsonl"))
        for line in json_lines(path)
    ]
    columns = {
        f"columns.{name}": None for line in stored for name in line.get("columns") or {}
    }
    rows = plain(load_run(folder).predictions)

    assert len(stored) == len(rows) > 100
    for line, row in zip(stored, rows, strict=True):
        of_sample = line.pop("columns", None) or {}
        flat = {f"columns.{name}": value for name, value in of_sample.items()}
        assert {"calibrator": None, **line, **columns, **flat} == row


def test_types_do_not_depend_on_the_rows(golden_runs: Path, write: Write) -> None:
    """A column of nulls has the type of its field, and counts of failures are whole."""
    nulls = write("s", {"label": None}, {}).predictions
    whole = load_run(golden_runs / "prompts").predictions

    assert whole.dtypes[nulls.columns].map(str).equals(nulls.dtypes.map(str))
    assert ["Float64", "boolean", "boolean", "Int64", "string"] == [
        str(nulls[name].dtype)
        for name in ("score", "decision", "label", "tokens_in", "error")
    ]
    assert [True, True] == nulls.score.isna().tolist()
    assert 0 == (nulls.score < 0.5).sum() == (nulls.score >= 0.5).sum()
    assert "Int64" == str(load_run(golden_runs / "prompts").rows.n.dtype)


def test_doubles_keep_all_digits(write: Write) -> None:
    """A score is the double that was stored, and an infinite one stays 1e308."""
    values = [0.1 + 0.2, 5e-324, 1e308, 1 / 3]
    run = write("s", *({"score": value} for value in values))

    assert values == run.predictions.score.tolist()


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("guard/greedy", {"guard/greedy"}),
        ("GREEDY", {"guard/greedy"}),
        ("keyword", {"keyword/score"}),
        ("ensemble", {"ensemble/mean_probs", "ensemble/mutual_information"}),
    ],
)
def test_some_predictions_by_name(
    golden_runs: Path, of: str, expected: set[str]
) -> None:
    """A combination, a strategy or a classifier, whatever its case."""
    frame = load_run(golden_runs / "prompts").predictions_of(of)

    assert expected == set(frame.classifier + "/" + frame.strategy)


def test_parts_and_datasets_are_filters(write: Write) -> None:
    """`part` and `dataset` keep the rows that say so; a calibrated score has a name."""
    held_out = {"part": "calibration"}
    write("s", {"score": 0.9}, {"score": 0.2} | held_out, {"score": 0.8})
    write("s+platt", {"score": 0.7}, {"score": 0.3} | held_out, {"score": 0.6})
    run = write("s", {"score": 0.4}, {"score": 0.5}, dataset="other")

    assert 8 == len(run.predictions)
    assert [0.4, 0.5] == run.predictions_of(dataset="other").score.tolist()
    assert [0.2] == run.predictions_of("guard/s", part="calibration").score.tolist()
    calibrated = run.predictions_of("guard/s+platt", part="test")
    assert [0.7, 0.6] == calibrated.score.tolist()
    assert {"platt"} == set(calibrated.calibrator)
    assert 5 == run.predictions.calibrator.isna().sum()
    assert ["guard/s", "guard/s+platt"] == sorted(run.combinations)


def test_columns_of_one_dataset_are_null_in_others(write: Write) -> None:
    """What came along with samples is a column each, of the type of its values."""
    of_samples = [{"turns": 1, "attack": "a"}, {"turns": 2, "attack": None}]
    write("s", {}, *({"columns": values} for values in of_samples))
    frame = write("s", {}, dataset="other").predictions

    assert [None, None, 1, 2] == [row["columns.turns"] for row in plain(frame)]
    assert [None, None, "a", None] == [row["columns.attack"] for row in plain(frame)]
    assert "Int64" == str(frame["columns.turns"].dtype)
    assert ["other", "set", "set", "set"] == frame.dataset.tolist()


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (lambda run: run.predictions_of("guard/gredy"), UnknownNameError, "guard/gree"),
        (lambda run: run.predictions_of(dataset="promts"), UnknownNameError, "prompts"),
        (lambda run: run.predictions_of(part="tset"), UnknownNameError, "'test'"),
    ],
)
def test_unknown_names_tell_the_nearest(
    golden_runs: Path,
    wrong: Callable[[Any], Any],
    kind: type[SafebenchError],
    message: str,
) -> None:
    """Of combinations, datasets and parts."""
    with pytest.raises(kind, match=f"did you mean.*{message}"):
        wrong(load_run(golden_runs / "prompts"))


def test_unknown_runs_tell_the_nearest(
    golden_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By path, by name below runs/, and where several runs are meant."""
    monkeypatch.chdir(golden_runs.parent)

    with pytest.raises(UnknownNameError, match="did you mean 'prompts'"):
        load_run("promts")
    with pytest.raises(RunFolderError, match="holds 2 runs"):
        load_run("runs")
    assert load_run("prompts").folder == load_run("runs/prompts").folder


def test_a_run_folder_may_be_called_as_a_classifier_is(
    golden_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``keyword`` is the classifier of this run, and not the run of that name."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(golden_runs / "answers", tmp_path / "keyword")
    frame = load_run(golden_runs / "prompts").predictions_of("keyword")

    assert {"keyword"} == set(frame.classifier)


@pytest.mark.parametrize("name", ["results.jsonl", "predictions/*/*/greedy.jsonl"])
def test_a_file_that_was_changed_is_refused(
    golden_runs: Path, tmp_path: Path, name: str
) -> None:
    """One digit of a stored number is enough, also after the file has been read."""
    folder = shutil.copytree(golden_runs / "prompts", tmp_path / "run")
    (path,) = folder.glob(name)
    run = load_run(folder)
    assert len(run.rows)
    assert len(run.predictions)
    text = path.read_text("utf-8")
    path.write_text(text.replace('"label": true', '"label": false', 1) + " ", "utf-8")

    with pytest.raises(DataError, match="not what the run wrote"):
        _ = (run.rows, run.predictions_of("guard/greedy"))


def test_other_files_than_those_asked_for_are_not_read(
    golden_runs: Path, tmp_path: Path
) -> None:
    """A damaged file is in the way of those alone who ask for it."""
    folder = shutil.copytree(golden_runs / "prompts", tmp_path / "run")
    (path,) = folder.glob("predictions/*/*/greedy.jsonl")
    path.write_text(path.read_text("utf-8") + "{", "utf-8")
    run = load_run(folder)

    assert 22 == len(run.predictions_of("guard/marginal_any"))
    with pytest.raises(DataError, match="greedy"):
        _ = run.predictions


def test_a_frame_is_ones_own(golden_runs: Path) -> None:
    """What somebody writes into a frame is not in the next one."""
    run = load_run(golden_runs / "prompts")
    before = run.predictions
    changed = run.predictions
    changed.loc[:, "score"] = 0.0

    assert before.equals(run.predictions)


def test_parquet_predictions_read_the_same(golden_runs: Path, tmp_path: Path) -> None:
    """Both forms that a run stores hold the same predictions."""
    from safebench.results.prediction_writing import write_predictions

    folder = shutil.copytree(golden_runs / "prompts", tmp_path / "run")
    before = load_run(folder).predictions
    for path in folder.glob("predictions/*/*/*.jsonl"):
        write_predictions(path, json_lines(path), "parquet")

    assert not list(folder.glob("predictions/*/*/*.jsonl"))
    assert plain(before) == plain(load_run(folder).predictions)


def test_without_predictions_it_says_how_to_have_some(
    golden_runs: Path, tmp_path: Path
) -> None:
    """A run with ``--predictions none`` has rows all the same."""
    folder = shutil.copytree(golden_runs / "answers", tmp_path / "run")
    shutil.rmtree(folder / "predictions")
    run = load_run(folder)

    assert len(run.rows)
    with pytest.raises(RunFolderError, match="--predictions none"):
        _ = run.predictions


def test_polars_is_asked_for_by_name(
    golden_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it there is a message with the way out; another library is unknown."""
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(OptionError, match='pip install "polars"'):
        load_run(golden_runs / "prompts", frames="polars")
    with pytest.raises(UnknownNameError, match="did you mean 'polars'"):
        load_run(golden_runs / "prompts", frames="polar")  # type: ignore[call-overload]


def test_polars_frames_have_typed_columns(
    golden_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What polars is handed: one typed series a column, dictionaries as JSON text."""
    module: Any = ModuleType("polars")
    for name in ("Float64", "Int64", "Boolean", "String", "Null", "Object"):
        setattr(module, name, name)
    module.List = lambda inner: f"List({inner})"
    module.Series = lambda name, values, dtype: (name, dtype, values)
    module.DataFrame = lambda series: {name: rest for name, *rest in series}
    monkeypatch.setitem(sys.modules, "polars", module)
    run: Any = load_run(golden_runs / "prompts", frames="polars")
    frame = run.predictions
    expected = plain(load_run(golden_runs / "prompts").predictions)

    assert ["Float64", [row["score"] for row in expected]] == frame["score"]
    assert ["Boolean", [row["label"] for row in expected]] == frame["label"]
    assert "List(String)" == frame["predicted_categories"][0]
    kind, texts = frame["categories"]
    assert "String" == kind
    decoded = [None if text is None else json.loads(text) for text in texts]
    assert [row["categories"] for row in expected] == decoded


def test_threads_share_a_run(golden_runs: Path) -> None:
    """Eight threads at once get what one gets, and each file is read once."""
    from concurrent.futures import ThreadPoolExecutor

    expected = load_run(golden_runs / "prompts").predictions
    run = load_run(golden_runs / "prompts")
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda _: run.predictions, range(16)))

    assert all(expected.equals(frame) for frame in frames)
