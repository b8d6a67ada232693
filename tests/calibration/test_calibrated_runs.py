"""Calibrated scores of a run: by `run --calibrate`, by `calibrate`, and stale."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import brier_score_loss, log_loss

from safebench.calibration.fitted import read_calibrator, transform
from safebench.cli import cli
from safebench.plugins import Plugins
from safebench.results import read_rows
from safebench.results.prediction_reading import prediction_files, read_predictions
from safebench.specs import CalibratorSpec

RUN = ("run", "-c", "coin", "-d", "odds.jsonl", "--out", "r")
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Return the core and the stranger's plugin, found as an entry point is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HERE)
    rng = np.random.default_rng(0)
    with Path("odds.jsonl").open("w") as file:
        for row in range(300):
            p = rng.random()
            label = "unsafe" if rng.random() < 0.4 * p else "safe"
            prompt = f"request {row} of odds {p:.4f}"
            file.write(json.dumps({"prompt": prompt, "label": label}) + "\n")
    core = [e for e in entry_points(group="safebench") if e.name == "core"]
    foreign = EntryPoint("foreign", "foreign_plugin", "safebench")
    return Plugins([*core, foreign])


@pytest.fixture
def safebench(plugins: Plugins) -> Any:
    """Return a function that runs a command, and returns what it printed."""

    def _safebench(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(cli, words, obj=plugins)
        assert code == result.exit_code, result.output
        return result.output

    return _safebench


def contents() -> dict[str, bytes]:
    """Return what is stored of results, predictions and calibrators."""
    paths = [Path("r/results.jsonl"), *Path("r").glob("[pc]*/*/*/*")]
    return {str(path): path.read_bytes() for path in paths}


def lines(name: str) -> list[dict[str, Any]]:
    """Return the stored predictions of one strategy with its calibrator."""
    (path,) = Path("r").glob(f"predictions/*/*/{name}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def brier_rows() -> dict[str | None, Any]:
    """Return the Brier rows by their calibrator."""
    rows = read_rows(Path("r/results.jsonl"))
    return {row.calibrator: row for row in rows if row.metric == "brier"}


@pytest.mark.slow
def test_run_and_calibrate_give_the_same_bytes(safebench: Any) -> None:
    """At once, afterwards, and again; a repeated run keeps them."""
    methods = ("platt", "isotonic", "same")
    safebench(*RUN, *(word for name in methods for word in ("--calibrate", name)))
    at_once = contents()
    for name in methods:
        safebench("calibrate", "r", "--method", name)
    again = contents()
    safebench(*RUN)

    assert at_once == again == contents()
    assert {None, *methods} == brier_rows().keys()


@pytest.mark.slow
def test_a_map_that_changes_nothing_repeats_the_raw_rows(safebench: Any) -> None:
    """Every metric, interval and count, from stored predictions alone."""
    safebench(*RUN, "--calibrate", "same")
    rows = read_rows(Path("r/results.jsonl"))
    raw = [row for row in rows if row.calibrator is None]
    same = [row for row in rows if row.calibrator == "same"]

    assert len(raw) == len(same) > 10
    for before, after in zip(raw, same, strict=True):
        if "uncertainty" not in before.note:
            assert before == replace(after, calibrator=None, note=before.note)
    assert (
        "+0.0000" in brier_rows()["same"].note
        or "unchanged" in brier_rows()["same"].note
    )


@pytest.mark.slow
def test_losses_are_those_of_scikit_learn(safebench: Any) -> None:
    """Of the test part; the change in note and output is their difference."""
    safebench(*RUN, "--calibrate", "platt")
    raw, platt = lines("score"), lines("score+platt")
    rows = read_rows(Path("r/results.jsonl"))
    value = {(row.calibrator, row.metric): row.value for row in rows}
    for name, part in ((None, raw), ("platt", platt)):
        test = [line for line in part if line["part"] == "test"]
        y = [line["label"] for line in test]
        p = [line["score"] for line in test]
        assert value[name, "brier"] == pytest.approx(brier_score_loss(y, p))
        assert value[name, "nll"] == pytest.approx(log_loss(y, p))
    output = json.loads(safebench("calibrate", "r", "-m", "platt", "--format", "json"))
    brier, nll = output[0]["losses"]

    change = value["platt", "brier"] - value[None, "brier"]
    assert change < 0
    assert brier["difference"] == pytest.approx(change)
    assert brier["low"] <= change <= brier["high"]
    assert "better" == brier["verdict"]
    assert f"{change:+.4f}" in brier_rows()["platt"].note
    assert nll["calibrated"] == value["platt", "nll"]


@pytest.mark.slow
def test_what_a_calibrated_prediction_holds(safebench: Any, plugins: Plugins) -> None:
    """The calibrator's own line, decided at 0.5; the stored map gives it again."""
    safebench(*RUN, "--calibrate", "mine=platt,targets=platt")
    raw, mine = lines("score"), lines("score+mine")
    (file,) = [f for f in prediction_files(Path("r")) if f.calibrator]
    fitted = read_calibrator(file)

    assert fitted is not None
    spec = plugins.get(CalibratorSpec, fitted.name)
    scores = np.array([line["score"] for line in raw])
    mapped = transform(spec, fitted.calibrator(plugins), scores)
    assert mapped.tolist() == [line["score"] for line in mine]
    for before, after in zip(raw, mine, strict=True):
        assert "mine" == after["calibrator"]
        assert "score" == after["strategy"]
        assert after["decision"] == (after["score"] >= 0.5)
        assert (0.5, True) == (after["threshold"], after["probability"])
        kept = ("id", "part", "label", "group", "content", "error", "tokens_in")
        assert [before[name] for name in kept] == [after[name] for name in kept]
    held_out = [line for line in raw if line["part"] == "calibration"]
    assert len(held_out) == fitted.fit.n
    assert sum(line["label"] for line in held_out) == fitted.fit.n_pos
    row = brier_rows()["mine"]
    assert (row.split_hash, row.data_hash) == (
        fitted.fit.split_hash,
        fitted.fit.data_hash,
    )


@pytest.mark.slow
def test_every_command_knows_the_calibrated_score(safebench: Any) -> None:
    """`compare`, `analyze`, `power`, `leaderboard` take STRATEGY+CALIBRATOR."""
    safebench(*RUN, "--calibrate", "platt", "--calibrate", "batch")
    compared = safebench("compare", "score", "coin/score+platt", "--run", "r",
                         "--metrics", "brier", "--format", "json")  # fmt: skip
    analyzed = safebench("analyze", "r", "-s", "score+platt", "--format", "json")
    power = safebench("power", "score", "score+platt", "--run", "r", "--metric",
                      "brier", "--difference", "0.01", "--format", "json")  # fmt: skip
    shown = {
        name: safebench("leaderboard", "r", "--calibrator", name)
        for name in ("none", "platt", "all")
    }

    assert "coin/score+platt" == json.loads(compared)[0]["b"]
    (combination,) = json.loads(analyzed)["combinations"]
    assert ("score", "platt") == (combination["strategy"], combination["calibrator"])
    assert "coin/score+platt" in power
    assert "+platt" not in shown["none"]
    assert "+platt" in shown["platt"]
    assert "+batch" not in shown["platt"]
    assert {"+platt", "+batch"} <= {
        w for name in shown["all"].split() for w in ["+" + name.partition("+")[2]]
    }
    assert "transductive" in shown["all"]
    assert "did you mean 'platt'" in safebench(
        "leaderboard", "r", "--calibrator", "plat", code=2
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed", [("--limit", "150"), ("--calibration-fraction", "0.5")]
)
def test_what_rests_on_other_predictions_is_set_aside(
    safebench: Any, changed: tuple[str, str]
) -> None:
    """With its rows, and with a line that says so; nothing is deleted."""
    safebench(*RUN, "--calibrate", "platt")
    output = safebench(*RUN, *changed)

    assert "score+platt on odds" in output
    assert "set aside" in output
    assert {None} == brier_rows().keys()
    assert {None} == {file.calibrator for file in prediction_files(Path("r"))}
    assert list(Path("r").glob("*/*/*/score+platt*set-aside"))
    safebench("calibrate", "r", "-m", "platt")
    assert {None, "platt"} == brier_rows().keys()


@pytest.mark.slow
def test_what_a_calibrator_of_a_plugin_does_wrong(safebench: Any) -> None:
    """What is no probability is its error; what it refuses is a note; others go on."""
    output = safebench(*RUN, "--calibrate", "odd", "--calibrate", "same", code=1)
    assert "is no probability" in output
    assert "calibrator 'odd' of plugin foreign" in output
    safebench(*RUN)
    refused = safebench("calibrate", "r", "-m", "temperature,x=1", code=2)
    assert "no option 'x'" in refused


@pytest.mark.slow
def test_calibrated_files_of_parquet(safebench: Any) -> None:
    """The form is that of the raw predictions, and the numbers are the same."""
    safebench(*RUN, "--calibrate", "platt", "--limit", "240")
    expected = read_predictions(Path("r"), strategies=["score+platt"])[0]
    safebench(*RUN, "--limit", "240", "--predictions", "parquet")
    safebench("calibrate", "r", "-m", "platt")
    (found,) = read_predictions(Path("r"), strategies=["score+platt"])

    assert np.array_equal(expected.score, found.score)
    assert {".parquet"} == {file.path.suffix for file in prediction_files(Path("r"))}
    assert not math.isnan(found.score[0])


@pytest.mark.slow
def test_prompts_without_content_are_recorded_as_a_probe(safebench: Any) -> None:
    """Once for all datasets, in stores of their own; P is divided by their mean."""
    safebench(*RUN, "--calibrate", "contextual")
    first = contents()
    output = safebench(*RUN, "--calibrate", "contextual")
    raw, mapped = lines("score"), lines("score+contextual")

    assert "content_free:prompt_harm: uses stored evidence of 3 samples" in output
    assert first == contents()
    (evidence,) = Path("r/evidence").iterdir()
    assert {"main", "content_free"} <= {path.name for path in evidence.iterdir()}
    p = np.array([line["score"] for line in raw])
    prior = (0.1 + 0.3) / 2  # the empty prompt has no score
    expected = (p / prior) / (p / prior + (1 - p) / (1 - prior))
    assert [line["score"] for line in mapped] == pytest.approx(expected.tolist())
    assert "2 prompts without content" in brier_rows()["contextual"].note
    refused = safebench("calibrate", "r", "-m", "contextual", code=1)
    assert "run ... --calibrate contextual" in " ".join(refused.split())


@pytest.mark.slow
def test_a_guard_that_fails_without_content_alone(safebench: Any) -> None:
    """Its rows stay, other calibrators too; the error is told at the end."""
    output = safebench(*RUN, "--set", "silent=true", "--calibrate", "contextual",
                       "--calibrate", "platt", code=1)  # fmt: skip

    assert "says nothing without content" in output
    assert {None, "platt"} == brier_rows().keys()
    assert brier_rows()[None].value is not None
