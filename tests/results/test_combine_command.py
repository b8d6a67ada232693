"""`safebench combine`: a run folder made of the predictions of others."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from safebench.cli import cli
from safebench.combination.combined_files import combine_files
from safebench.combination.rules import parse_rule
from safebench.plugins import Plugins
from safebench.results import read_rows
from safebench.results.prediction_reading import prediction_files, read_predictions
from safebench.results.stored_columns import to_columns

Write = Callable[..., Path]


def run(*words: str) -> Result:
    """Run the command line, and let faults of its code through."""
    return CliRunner().invoke(cli, words, obj=Plugins(), catch_exceptions=False)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the predictions of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def two(write: Write) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write two guards into one run: labels, and the scores of both."""
    rng = np.random.default_rng(0)
    y = rng.random(200) < 0.5
    a, b = (np.clip(rng.normal(np.where(y, 0.6, 0.4), 0.2), 0.01, 0.99) for _ in "ab")
    b[7] = np.nan
    part = {"part": np.where(np.arange(200) < 80, "calibration", "test")}
    for name, score in (("small", a), ("large", b)):
        write(
            "two", f"{name}/s", y, score, columns=part, threshold=0.5, probability=True
        )
    return y, a, b


@pytest.mark.slow
def test_every_command_reads_it(
    two: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Or is a classifier that every command reads."""
    y, a, b = two

    result = run("combine", "two", "small", "large", "--rule", "or", "--out", "runs/c")

    assert result.exit_code == 0, result.output
    (stored,) = read_predictions(Path("runs/c"), part="all")
    assert (stored.classifier, stored.strategy) == ("or(small,large)", "s,s")
    expected = np.where(np.isnan(b), np.where(a >= 0.5, a, np.nan), np.fmax(a, b))
    np.testing.assert_array_equal(stored.score, expected)
    rows = {row.metric: row for row in read_rows(Path("runs/c/results.jsonl"))}
    test = (np.arange(200) >= 80) & ~np.isnan(expected)
    assert rows["auroc"].value == pytest.approx(roc_auc_score(y[test], expected[test]))
    assert rows["auroc"].ci_low is not None
    assert rows["recall"].value == pytest.approx((expected[test & y] >= 0.5).mean())
    assert rows["recall"].n == 120
    for words in (
        ("leaderboard", "runs/c"),
        ("analyze", "runs/c"),
        ("compare", "runs/two/small/s", "runs/c"),
        ("threshold", "runs/c", "--max-fpr", "0.2"),
        ("gate", "runs/c", "--max", "fpr=0.99"),
        ("pareto", "runs/c"),
    ):
        read = run(*words)
        assert read.exit_code == 0, (words, read.output)
        assert "or(small,large" in read.output.replace("\n", "")


@pytest.mark.slow
def test_bytes_with_itself(
    two: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """A part or itself has the bytes of the part."""
    for rule in ("or", "and", "cascade:0.2,0.6"):
        run(
            "combine",
            "two",
            "large",
            "large",
            "--rule",
            rule,
            "--out",
            "runs/same",
            "--name",
            rule.replace(":", "-"),
        )
    for path in Path("runs/same").glob("predictions/*/*/*.jsonl"):
        parts = lines_of(Path("runs/two/predictions/large/set.test/s.jsonl"))
        for line, original in zip(lines_of(path), parts, strict=True):
            for name in ("id", "score", "decision", "label", "part", "group"):
                assert line[name] == original[name]
    assert len(list(Path("runs/same").glob("predictions/*/*/*.jsonl"))) == 3


def test_bytes_of_second_part(
    two: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """A cascade of all scores has the bytes of the second part."""
    done = run(
        "combine", "two", "small", "large", "--rule", "cascade:0,1", "--format", "json"
    )

    (record,) = json.loads(done.stdout)["combinations"]
    assert record["cost"]["escalated"] == 1
    assert record["cost"]["seconds"] is None
    assert "has no results" in record["cost"]["unknown"]
    folder = json.loads(done.stdout)["run"]
    (path,) = Path(folder).glob("predictions/*/*/*.jsonl")
    parts = lines_of(Path("runs/two/predictions/large/set.test/s.jsonl"))
    for line, original in zip(lines_of(path), parts, strict=True):
        assert [line[k] for k in ("score", "decision")] == [
            original[k] for k in ("score", "decision")
        ]


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("content", "another text", "disagree on the text of 1 of 200 samples"),
        ("label", None, "disagree on the label of 1"),
        ("part", "calibration", "--calibration-fraction"),
        ("task", "refusal", "disagree on the task"),
    ],
)
def test_contradictions(
    two: tuple[np.ndarray, np.ndarray, np.ndarray], field: str, value: Any, match: str
) -> None:
    """Parts that contradict each other are refused."""
    path = Path("runs/two/predictions/large/set.test/s.jsonl")
    lines = lines_of(path)
    lines[150][field] = value
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    result = run("combine", "two", "small", "large", "--rule", "or")

    assert result.exit_code == 2
    assert match in result.output
    assert not list(Path("runs").glob("or*"))


def test_left_out(
    two: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Samples that one part lacks are left out and counted."""
    path = Path("runs/two/predictions/large/set.test/s.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:190]))

    result = run(
        "combine", "two", "small", "large", "--rule", "mean", "--out", "runs/c"
    )

    assert "10 samples that not all parts have are left out" in result.output
    rows = read_rows(Path("runs/c/results.jsonl"))
    assert {row.n for row in rows} == {110}
    assert all("10 samples" in row.note for row in rows)


def test_lines_of_a_number_as_id_that_occurs_twice_keep_their_scores(
    two: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """All lines are written, each with what is said of it."""
    for name in ("small", "large"):
        path = Path(f"runs/two/predictions/{name}/set.test/s.jsonl")
        lines = [{**line, "id": row} for row, line in enumerate(lines_of(path))]
        lines = [*lines[:50], *lines[10:15], *lines[50:]]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = [f for f in prediction_files(Path("runs/two")) if f.classifier == "small"]

    combined = combine_files(parse_rule("max"), files * 2, ("both", "max"))

    written = list(combined.lines)
    of_first = lines_of(files[0].path)
    assert [x["score"] for x in of_first] == [x["score"] for x in written]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("two", "small", "--rule", "or"), "takes two or more parts"),
        (("two", "small", "larg", "--rule", "or"), "did you mean 'large'"),
        (
            ("two", "small", "large", "small", "--rule", "cascade:0,1"),
            "takes two parts",
        ),
        (
            ("two", "small", "large", "--rule", "or", "-d", "other"),
            "no dataset 'other'",
        ),
        (
            ("two", "small", "large", "--rule", "or", "--out", "runs/two"),
            "no combination",
        ),
        (("two", "small", "large", "--rule", "cascade:auto@budget=0.1"), "decision"),
    ],
)
def test_refusals(
    two: tuple[np.ndarray, np.ndarray, np.ndarray], words: tuple[str, ...], match: str
) -> None:
    """What cannot be combined is refused in one line."""
    result = run("combine", *words)
    if "auto" in words[-1]:  # a budget that can be kept
        assert match in result.output
        assert result.exit_code == 0
    else:
        assert result.exit_code != 0
        assert match in result.output


@pytest.mark.slow
def test_same_name(
    two: tuple[np.ndarray, np.ndarray, np.ndarray], write: Write
) -> None:
    """The same name of other parts is refused and of the same replaced."""
    y, a, _ = two
    part = {"part": np.where(np.arange(200) < 80, "calibration", "test")}
    write("more", "small/s", y, 1 - a, columns=part, threshold=0.5, probability=True)
    words = ("--rule", "or", "--out", "runs/c")
    first = run("combine", "runs/two/small/s", "runs/two/large/s", *words)
    again = run("combine", "runs/two/small/s", "runs/two/large/s", *words)
    rows = read_rows(Path("runs/c/results.jsonl"))
    other = run("combine", "runs/more/small/s", "runs/two/large/s", *words)

    assert first.exit_code == again.exit_code == 0
    assert len({row.metric for row in rows}) == len(rows)
    assert other.exit_code == 2
    assert "holds another or(small,large)" in other.output


@pytest.mark.usefixtures("two")
def test_the_threshold_of_a_combination_is_not_saved() -> None:
    """No guard could be loaded for it: one line says so, and nothing is written."""
    made = run("combine", "small", "large", "--rule", "mean", "--out", "runs/both")
    assert made.exit_code == 0, made.output
    words = ["threshold", "runs/both", "--max-fpr", ".3"]
    shown = run(*words)
    saved = run(*words, "--save", "point.json")

    assert shown.exit_code == 0, shown.output
    assert saved.exit_code == 2
    assert "is a combination of stored predictions" in saved.output
    assert "cannot be served" in saved.output
    assert not Path("point.json").exists()


@pytest.mark.usefixtures("two")
def test_a_part_that_was_run_again_is_noticed() -> None:
    """Tables note it, and the gate does not rely on it."""
    made = run("combine", "two", "small", "large", "--rule", "or", "--out", "runs/c")
    assert made.exit_code == 0, made.output
    gate = ("gate", "runs/c", "--max", "fpr=0.99")
    said = "small/s has been run again since"
    whole = run("leaderboard", "runs/c", "--format", "json")
    assert said not in whole.output
    assert run(*gate).exit_code == 0
    part = Path("runs/two/predictions/small/set.test/s.jsonl")
    before = part.read_text()

    part.write_text(before.replace('"score": 0.5', '"score": 0.6'))

    assert said in run("leaderboard", "runs/c", "--format", "json").output
    failed = run(*gate)
    assert failed.exit_code == 1
    assert said in failed.stdout
    part.write_text(before)
    assert run("leaderboard", "runs/c", "--format", "json").output == whole.output
    part.unlink()  # no longer at hand: nobody knows
    assert said not in run("leaderboard", "runs/c", "--format", "json").output


def test_metrics_read_what_the_lines_say(
    two: tuple[np.ndarray, np.ndarray, np.ndarray], write: Write
) -> None:
    """Columns of a combination are those of the lines that are written."""
    y, a, _ = two
    part = {"part": np.where(np.arange(180) < 80, "calibration", "test")}
    few = write("few", "third/s", y[:180], a[:180], columns=part, threshold=0.5)
    order = np.random.default_rng(1).permutation(180)
    lines = few.read_text().splitlines()
    few.write_text("".join(f"{lines[row]}\n" for row in order))
    (first, second), (third,) = map(
        prediction_files, map(Path, ("runs/two", "runs/few"))
    )

    for files in ((first, second), (second, third), (third, first)):
        made = combine_files(parse_rule("or"), files, ("or", "s"))
        n = 180 if third in files else 200
        assert n == len(made.lines) == len(list(made.lines))
        written = to_columns(made.lines, (), "test")
        for field in fields(written):
            values = (getattr(x, field.name) for x in (written, made.lines.stored()))
            expected, value = values
            if isinstance(expected, np.ndarray):
                np.testing.assert_array_equal(expected, value)
            elif isinstance(expected, Sequence):
                assert list(expected) == list(value), field.name
            else:
                assert expected == value, field.name
