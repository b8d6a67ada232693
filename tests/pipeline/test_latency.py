"""`run --latency`: single samples are measured apart, once, and change nothing else."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from safebench import ClassifierSpec, hookimpl
from safebench.classifiers import Classifier, Recording, Trace
from safebench.cli import cli
from safebench.evidence import Scores
from safebench.executors import worker
from safebench.pipeline import latency
from safebench.plugins import ENTRY_POINT_GROUP, Plugins
from safebench.results import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.slow

META = {"labels": ["unsafe"], "scale": "probability", "exclusive": False}
ROWS = [{"prompt": "x" * (i + 1), "label": i % 2} for i in range(12)]


class Clocked(Classifier):
    """Takes one second a letter, by a clock of its own; notes what it is shown."""

    now = 0.0
    shown: list[list[str]] = []
    failing: str | None = None
    breaking: str | None = None
    speed = 0

    @property
    def facts(self) -> dict[str, Any]:
        """Return the device that it was told."""
        return {"device": type(self).device}

    device = "one"

    @property
    def state(self) -> dict[str, Any]:
        """Return what it learnt: how often it was asked."""
        return {"speed": self.speed}

    def restore(self, state: Any) -> None:
        """Go on with it."""
        self.speed = state["speed"]

    def record(self, samples: Sequence[Any], kinds: Any, on_progress: Any) -> Recording:
        """Return one half a sample."""
        texts = [sample.judged.text for sample in samples]
        if len(texts) == 1 and texts[0] == type(self).breaking:
            raise RuntimeError("out of order")
        Clocked.shown.append(texts)
        Clocked.now += sum(map(len, texts))
        self.speed += 1
        on_progress(len(texts))
        traces = [
            Trace(error="refused" if text == type(self).failing else None)
            for text in texts
        ]
        values = np.full((len(texts), 1), 0.5)
        return Recording(evidence={Scores: Scores({"values": values}, meta=META)},
                         traces=traces)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return what runs the classifier on twelve prompts of 1 to 12 letters."""
    module = ModuleType("clocked_guard")
    spec = ClassifierSpec(
        name="clocked", load=f"{__name__}:Clocked", provides=frozenset({Scores}),
        tasks=frozenset({"prompt_harm"}), default_strategy="score",
    )  # fmt: skip
    hook = hookimpl(specname="safebench_classifiers")(lambda: [spec])
    module.safebench_classifiers = hook  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for name, value in (("failing", None), ("breaking", None), ("device", "one")):
        monkeypatch.setattr(Clocked, name, value)
    monkeypatch.setattr(worker, "perf_counter", lambda: Clocked.now)
    monkeypatch.chdir(tmp_path)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    Path("rows.jsonl").write_text(lines, encoding="utf-8")
    plugins = Plugins([
        *entry_points(group=ENTRY_POINT_GROUP),
        EntryPoint("clocked", module.__name__, ENTRY_POINT_GROUP),
    ])  # fmt: skip

    def on_rows(*words: str) -> Result:
        Clocked.shown.clear()
        args = ["run", "-c", "clocked", "-d", "rows.jsonl", "--out", "run", *words]
        args += ["--calibration-fraction", "0", "--max-failures", "100%"]
        return CliRunner().invoke(cli, args, obj=plugins)

    return on_rows


def rows() -> dict[str, Any]:
    """Return the result rows by metric."""
    return {row.metric: row for row in read_rows(Path("run/results.jsonl"))}


def singles() -> list[str]:
    """Return what was shown alone."""
    return [texts[0] for texts in Clocked.shown if len(texts) == 1]


def test_samples_are_measured_one_at_a_time_before_the_run(
    run: Callable[..., Result],
) -> None:
    """Three others to warm up, then the chosen ones, then all together."""
    result = run("--latency", "7", "--seed", "3")

    assert 0 == result.exit_code, result.output
    assert [1] * 10 + [12] == list(map(len, Clocked.shown))
    warm_up, chosen = singles()[:3], singles()[3:]
    assert not {*warm_up} & {*chosen}
    seconds = [len(text) for text in chosen]
    row = rows()["latency_p50"]
    assert row.value == pytest.approx(np.median(seconds))
    # the first and last of seven: P(all on one side) is 2 * .5 ** 7
    assert (min(seconds), max(seconds)) == (row.ci_low, row.ci_high)
    assert "needs 20 samples" in rows()["latency_p95"].note
    assert f"latency p50 {np.median(seconds):g} s" in result.output
    assert "batched" == rows()["auroc"].latency_mode


def test_what_is_measured_changes_nothing_else(run: Callable[..., Result]) -> None:
    """Predictions and what the model has learnt are those of a run without."""
    files = ("predictions/**/*.jsonl", "evidence/*/state.json")
    contents = []
    for words in (["--latency", "5"], []):
        assert 0 == run(*words).exit_code
        found = [path for kind in files for path in sorted(Path("run").glob(kind))]
        contents.append([path.read_bytes() for path in found])
        assert len(found) == 2
        Path("run").rename(f"run-{len(contents)}")
    assert contents[0] == contents[1]


def test_a_repeated_run_measures_what_is_missing(run: Callable[..., Result]) -> None:
    """Nothing, more samples, other samples, or with --refresh all again."""
    assert 0 == run("--latency", "4").exit_code
    first = singles()[3:]
    values = rows()["latency_p50"].value

    assert 0 == run("--latency", "4").exit_code
    assert [] == Clocked.shown
    assert 0 == run().exit_code  # without the option what is stored is shown
    assert values == rows()["latency_p50"].value

    assert 0 == run("--latency", "6").exit_code
    assert 3 + 2 == len(singles())
    assert not {*singles()[3:]} & {*first}
    assert 6 == rows()["latency_p50"].n_scored

    assert 0 == run("--latency", "4", "--refresh").exit_code
    assert first == singles()[3:]


def test_a_seed_chooses(run: Callable[..., Result]) -> None:
    """Two seeds measure other samples."""
    assert 0 == run("--latency", "4").exit_code
    first = {*singles()[3:]}
    assert 0 == run("--latency", "4", "--seed", "1").exit_code

    new = {*singles()[3:]} - first  # those that both choose are not measured twice
    assert new
    assert 4 + len(new) == rows()["latency_p50"].n_scored


def test_failures_are_left_out_and_counted(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal is no answer, however quick."""
    monkeypatch.setattr(Clocked, "failing", "x" * 5)
    assert 0 == run("--latency", "12").exit_code

    row = rows()["latency_p50"]
    others = [n for n in range(1, 13) if n != 5]
    assert row.value == pytest.approx(np.median(others))
    assert "1 of 12 failed and are left out" in row.note

    monkeypatch.setattr(Clocked, "failing", None)
    assert 0 == run("--latency", "12", "--retry-failed").exit_code
    assert ["x" * 5] == singles()[3:][:1]
    assert 12 == rows()["latency_p50"].n_scored


def test_a_classifier_that_breaks_is_told_and_the_run_goes_on(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured by then is kept, and the exit code says so."""
    assert 0 == run("--latency", "12").exit_code
    order = singles()[3:]
    Path("run").rename("before")
    monkeypatch.setattr(Clocked, "breaking", order[8])

    result = run("--latency", "12")

    assert 1 == result.exit_code
    assert "out of order" in result.output
    assert 12 == rows()["auroc"].n
    assert 8 == rows()["latency_p50"].n_scored
    monkeypatch.setattr(Clocked, "breaking", None)
    assert 0 == run("--latency", "12").exit_code
    assert order[8:] == singles()[3:]


def test_times_of_another_machine_are_not_mixed(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another number of processors: all again. Another device: none."""
    assert 0 == run("--latency", "4").exit_code
    here = latency.surroundings()
    monkeypatch.setattr(latency, "surroundings", lambda: {**here, "cpus": 77})

    result = run("--latency", "5")

    assert "latencies are measured again" in result.output
    assert "cpus" in result.output
    assert 3 + 5 == len(singles())

    monkeypatch.setattr(Clocked, "device", "two")
    result = run("--latency", "6")
    assert "no latency is measured" in result.output
    assert 5 == rows()["latency_p50"].n_scored


def test_a_damaged_log_is_set_aside(run: Callable[..., Result]) -> None:
    """And its samples are measured again."""
    assert 0 == run("--latency", "4").exit_code
    (path,) = Path("run/evidence").glob("*/latency.json")
    path.write_text(path.read_text().replace('"where"', '"were"'))

    result = run("--latency", "4")

    assert "set aside" in result.output
    assert 3 + 4 == len(singles())


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_samples_are_refused(run: Callable[..., Result], count: str) -> None:
    """In one line, before anything runs."""
    result = run("--latency", count)

    assert 2 == result.exit_code
    assert "latency: at least 1 sample" in result.output
