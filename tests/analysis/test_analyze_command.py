"""`safebench analyze`, from a run folder to the screen."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench.cli.analyze import command
from safebench.plugins import Plugins
from safebench.results.review_marks import LabelMark, ReviewedSample, store_mark

if TYPE_CHECKING:
    from click.testing import Result

    from .conftest import FakeRun

SCORE = [0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.1, 0.3]
UNCERTAINTY = [0.1, 0.2, 0.9, 0.3, 0.8, 0.2, 0.1, 0.3]


def analyze(run: FakeRun, *args: str, **env: str) -> Result:
    """Run the command on a folder."""
    arguments = [str(run.folder), *args]
    settings = {"COLUMNS": "100", "SAFEBENCH_DATA": ""} | env
    return CliRunner().invoke(command, arguments, obj=Plugins(), env=settings)


def as_json(run: FakeRun, *args: str) -> Any:
    """Return what the command says as JSON."""
    return json.loads(analyze(run, "--format", "json", *args).stdout)


def test_the_tables_hold_what_was_computed(run: FakeRun) -> None:
    """Two wrong decisions with the highest uncertainty: an area of 1."""
    run.write_dataset()
    run.predict(score=SCORE, uncertainty=UNCERTAINTY)

    result = analyze(run, "--top", "2")

    assert 0 == result.exit_code, result.output
    assert "Least certain decisions" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["p2", "positive", "negative", "0.100", "0.9000"] in lines
    assert ["p4", "negative", "positive", "0.600", "0.8000"] in lines
    (combination,) = as_json(run)["combinations"]
    assert 1.0 == combination["detection"]["auroc"]
    assert 0.75 == combination["accuracy"]
    assert "the strategy's own uncertainty" == combination["uncertainty"]
    assert ["p2", "p4"] == [sample["id"] for sample in combination["hardest"][:2]]
    assert ["p4", "p2"] == [sample["id"] for sample in combination["mistakes"]]


def test_closeness_to_the_threshold_stands_in_and_is_named(run: FakeRun) -> None:
    """Without an uncertainty, -|score - threshold| takes its place."""
    run.predict(score=SCORE)

    (combination,) = as_json(run)["combinations"]

    assert "closeness of the score to the threshold 0.5" == combination["uncertainty"]
    assert ("p4", -0.1) == (
        combination["hardest"][0]["id"],
        pytest.approx(combination["hardest"][0]["uncertainty"]),
    )
    assert "* uncertainty is the closeness" in analyze(run).stdout


def test_an_uncertainty_alone_is_judged_by_stored_decisions(run: FakeRun) -> None:
    """No score: no calibration and no ROC, but errors can be combination."""
    decision = [s >= 0.5 for s in SCORE]
    run.predict(uncertainty=UNCERTAINTY, decision=decision, probability=False)

    (combination,) = as_json(run)["combinations"]

    assert 1.0 == combination["detection"]["auroc"]
    assert combination["calibration"] is None
    assert "no calibration: the score is no probability" in combination["notes"]


def test_failed_samples_are_left_out_and_counted(run: FakeRun) -> None:
    """Of two errors one failed: accuracy is over seven."""
    run.predict(score=SCORE, uncertainty=UNCERTAINTY, failed=(2,))

    (combination,) = as_json(run)["combinations"]

    assert 1 == combination["n_failed"]
    assert 6 / 7 == pytest.approx(combination["accuracy"])
    assert "1 of 8 samples failed and are left out" in combination["notes"]


@pytest.mark.slow
def test_prompts_are_shown_only_if_asked_for_and_then_sanitized(
    run: FakeRun,
) -> None:
    """A right-to-left override or an escape in a prompt never reaches the terminal."""
    run.prompts[2] = "hidden \u202egnirts\u202c and \x1b[31mred\x1b[0m \u200b [bold]"
    run.write_dataset()
    run.predict(score=SCORE, uncertainty=UNCERTAINTY)

    without, shown = analyze(run).output, analyze(run, "--text").output

    assert "hidden" not in without
    assert "gnirts" in shown
    assert not set("\u202e\u202c\x1b\u200b") & set(shown)
    assert "[bold]" in shown
    (combination,) = as_json(run, "--text")["combinations"]
    assert run.prompts[2] == combination["hardest"][0]["text"]
    (combination,) = as_json(run)["combinations"]
    assert combination["hardest"][0]["text"] is None


def test_a_prompt_that_changed_since_is_not_shown_for_another(run: FakeRun) -> None:
    """Ids can stay while texts change; metadata belongs to the text that was judged."""
    run.predict(score=SCORE, uncertainty=UNCERTAINTY)
    run.prompts[2] = "another prompt by now"
    run.write_dataset()

    analysis = as_json(run, "--text")

    assert analysis["combinations"][0]["hardest"][0]["text"] is None
    assert "prompts.jsonl:all: 1 samples are not there any more" in analysis["notes"]


def test_a_dataset_that_is_gone_is_a_note(run: FakeRun) -> None:
    """Numbers from stored predictions need no dataset."""
    run.write_dataset().unlink()
    run.predict(score=SCORE, uncertainty=UNCERTAINTY)

    result = analyze(run)

    assert 0 == result.exit_code
    assert "could not be read again" in " ".join(result.stdout.split())


@pytest.mark.slow
def test_many_combinations_are_an_overview(run: FakeRun) -> None:
    """More than three fill one table, with the way to see more."""
    for name in "abcd":
        run.predict(name, score=SCORE, uncertainty=UNCERTAINTY)

    result = analyze(run)

    assert "Least certain" not in result.stdout
    assert "choose with --classifier" in " ".join(result.stdout.split())
    assert "Least certain" in analyze(run, "-s", "A", "-s", "b").stdout


def test_several_datasets_are_also_taken_together(run: FakeRun) -> None:
    """One rule on two sets: a third line for both, and a slice by dataset."""
    run.predict(score=SCORE, uncertainty=UNCERTAINTY)
    run.predict(score=SCORE[::-1], uncertainty=UNCERTAINTY, dataset="other.jsonl")

    combinations = as_json(run)["combinations"]

    both = combinations[-1]
    assert ("all 2 sets", 16) == (both["dataset"], both["n"])
    (by_set,) = [table for table in both["slices"] if table["column"] == "dataset"]
    parts = {part["value"]: part["accuracy"] for part in by_set["slices"]}
    assert {"other.jsonl:all": 0.25, "prompts.jsonl:all": 0.75} == parts


@pytest.mark.parametrize(
    ("args", "needle"),
    [
        (["-s", "maen"], "did you mean 'mean'?"),
        (["-c", "gurad"], "did you mean 'guard'?"),
        (["--metrics", "recal"], "did you mean 'recall'?"),
        (["--part", "calibration"], "try --part all"),
    ],
)
def test_mistakes_say_what_would_work(
    run: FakeRun, args: list[str], needle: str
) -> None:
    """Exit code 2, one message, no traceback."""
    run.predict(score=SCORE)

    result = analyze(run, *args)

    assert 2 == result.exit_code
    assert needle in result.output


def test_a_folder_without_predictions_is_refused(run: FakeRun) -> None:
    """As is no folder at all."""
    assert "no run folder" in analyze(run).output
    run.folder.mkdir()
    assert "--predictions none" in analyze(run).output


def test_missing_plotting_library_is_one_line(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes before any work, with the command that installs it."""
    run.predict(score=SCORE)
    monkeypatch.setattr("safebench.plots.find_spec", lambda _: None)

    result = analyze(run, "--plots", str(run.folder / "plots"))

    assert 2 == result.exit_code
    assert "pip install 'safebench[plots]'" in result.output
    assert not (run.folder / "plots").exists()


def test_parquet_reads_like_json_lines(run: FakeRun) -> None:
    """The other way to keep predictions gives the same numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    run.predict(score=SCORE, uncertainty=UNCERTAINTY)
    expected = as_json(run)
    (path,) = (run.folder / "predictions").glob("*/*/*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(lines), path.with_suffix(".parquet"))
    path.unlink()

    assert expected == as_json(run)


@pytest.mark.slow
def test_narrow_terminals_drop_columns_and_say_so(run: FakeRun) -> None:
    """Nothing runs over the edge, nothing is lost without a word."""
    run.predict("a_strategy_of_a_long_name", score=SCORE, uncertainty=UNCERTAINTY)
    run.predict("b", score=SCORE, uncertainty=UNCERTAINTY)

    result = analyze(run, COLUMNS="60")

    assert max(map(len, result.stdout.splitlines())) <= 60
    assert "no room for" in result.stdout
    assert "a_strategy_of_" in result.stdout  # folded, and no narrower than this


@pytest.mark.slow
def test_twenty_thousand_predictions_take_seconds(run: FakeRun) -> None:
    """Every step is a few array operations; measured in processor time."""
    rng = np.random.default_rng(0)
    run.labels = (rng.random(20_000) < 0.4).tolist()
    run.prompts = [f"prompt {i}" for i in range(20_000)]
    score = (rng.random(20_000) * 0.6 + 0.4 * np.array(run.labels)).tolist()
    run.predict(score=score, uncertainty=rng.random(20_000).tolist())

    start = time.process_time()
    result = analyze(run)

    assert 0 == result.exit_code
    assert time.process_time() - start < 12


def mark(run: FakeRun, row: int, word: str) -> None:
    """Mark a label of the run as a reviewer does."""
    names = ("prompts.jsonl", None, "all", "prompt_harm", run.ids[row])
    sample = ReviewedSample(*names, run.content[row])
    store_mark(run.folder, LabelMark(sample=sample, label=run.labels[row], mark=word))


def test_labels_as_they_were_reviewed(run: FakeRun) -> None:
    """One of two errors was a wrong label, and an unclear one is left out."""
    run.write_dataset()
    run.predict(score=SCORE, uncertainty=UNCERTAINTY)
    mark(run, 2, "wrong")
    mark(run, 5, "unclear")

    stored = as_json(run)
    reviewed = as_json(run, "--labels", "reviewed")

    assert [6 / 8, 6 / 7] == [
        r["combinations"][0]["accuracy"] for r in (stored, reviewed)
    ]
    note = "prompts.jsonl:all: labels as reviewed, of 8 1 wrong, 1 unclear; "
    assert reviewed["notes"][0].startswith(note)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no label was reviewed in"),
        (("--gaps", "--save"), "--save is about the run's own labels"),
        (("--html", "x.html"), "--html is about the run's own labels"),
    ],
)
def test_reviewed_labels_are_refused_where_they_would_mislead(
    run: FakeRun, words: tuple[str, ...], message: str
) -> None:
    """Without marks, and beside numbers with the stored labels."""
    run.write_dataset()
    run.predict(score=SCORE)
    result = analyze(run, "--labels", "reviewed", *words)

    assert 0 != result.exit_code
    assert message in f"{result.output} {result.exception}"
