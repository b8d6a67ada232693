"""Operating points: saved, moved to another place, and asked there."""

from __future__ import annotations

import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from safebench.decision.operating_point import OperatingPoint, read_point
from safebench.errors import DataError
from safebench.plugins import Plugins
from safebench.score.deployment import deploy
from safebench.web.app import create_app
from safebench.web.state import AppState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Run = Callable[..., Result]

WORDS = ("bomb", "poison", "steal", "virus", "weapon")


def prompt(row: int) -> str:
    """Return a text with as many listed words as its row says."""
    return " ".join([*WORDS[: row % 6], "please", str(row)])


@pytest.fixture
def point(folder: Path, safebench: Run) -> Path:
    """Run the keyword list on 240 prompts, and save the point of a review band."""
    (folder / "here").mkdir()
    (folder / "here" / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    rows = [
        {"prompt": prompt(row), "label": "unsafe" if (row * 7) % 6 > 2 else "safe"}
        for row in range(240)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "mine.jsonl").write_text(lines, encoding="utf-8")
    ran = safebench(
        *("run", "-c", "keyword,words=here/words.txt", "-d", "mine.jsonl"),
        *("--out", "runs/one"),
    )
    assert 0 == ran.exit_code, ran.output
    saved = safebench(
        *("threshold", "one", "--max-fpr", ".3", "--review-budget", ".3"),
        *("--save", "point.json"),
    )
    assert 0 == saved.exit_code, saved.output
    return folder / "point.json"


@pytest.fixture
def moved(point: Path, folder: Path) -> Path:
    """Move point and words elsewhere, and take the run folder away."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    shutil.move(folder / "here" / "words.txt", elsewhere / "list.txt")
    shutil.rmtree(folder / "runs")
    return point.rename(elsewhere / "guard.json")


def test_at_another_place_it_decides_as_it_was_counted(
    moved: Path, folder: Path, safebench: Run
) -> None:
    """Without the run, at another path: every prompt by score >= threshold."""
    stored = json.loads(moved.read_text(encoding="utf-8"))
    lines = "".join(json.dumps({"prompt": prompt(row)}) + "\n" for row in range(6))
    (folder / "new.jsonl").write_text(lines, encoding="utf-8")

    result = safebench(
        *("score", "--operating-point", str(moved), "--json"),
        *("--set", "words=elsewhere/list.txt", "--prompt-file", "new.jsonl"),
    )

    assert 0 == result.exit_code, result.output
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    low, high = stored["review"]["low"], stored["threshold"]
    expected = [
        "block" if a["score"] >= high else "review" if a["score"] >= low else "pass"
        for a in answers
    ]
    assert expected == [a["action"] for a in answers]
    assert {"block", "review", "pass"} == set(expected)
    assert stored["checksum"] == answers[0]["operating_point"]["checksum"]


def test_what_is_stored_says_how_it_was_chosen(point: Path) -> None:
    """Guard, rule, data, split, date and what was measured, with intervals."""
    stored = json.loads(point.read_text(encoding="utf-8"))

    assert "max_fpr" == stored["chosen"]["rule"]
    assert 0.3 == stored["chosen"]["value"]
    (chosen_on,) = stored["chosen"]["sets"]
    assert chosen_on["split_hash"]
    assert chosen_on["data_hash"]
    assert stored["chosen"]["date"].endswith("+00:00")
    (measured,) = stored["realised"]
    assert "test" == measured["part"]
    fpr = measured["metrics"]["fpr"]
    assert fpr["low"] <= fpr["value"] <= fpr["high"]
    assert len(stored["classifier"]["identity"]["weights"]) == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(threshold=0.1), "its checksum is another one"),
        (lambda p: p.pop("checksum"), "its checksum is missing"),
        (lambda p: p["strategy"].update(name="x"), "its checksum is another one"),
        (lambda p: (p.clear(), p.update(a=1)), "it says another format, or none"),
        (lambda p: p.pop("task"), "its checksum is another one"),
    ],
    ids=["threshold", "unsealed", "strategy", "other-file", "cut"],
)
def test_an_edited_file_is_refused(
    change: Callable[[dict[str, Any]], Any], message: str, point: Path, safebench: Run
) -> None:
    """In one line, whatever was changed."""
    content = json.loads(point.read_text(encoding="utf-8"))
    change(content)
    point.write_text(json.dumps(content), encoding="utf-8")

    result = safebench("score", "--operating-point", "point.json", "a bomb")

    assert 2 == result.exit_code
    assert message in result.stderr
    assert 1 == len(result.stderr.splitlines())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--set", "words=other.txt"), "another guard: weights:"),
        (("-c", "keyword", "-c", "keyword"), "say one -c"),
        (("-c", "llamaguard"), "was chosen for keyword, not llamaguard"),
        (("-s", "greedy"), "was chosen for keyword/score: leave -s out"),
        (("-s", "score,threshold=.2"), "has a threshold: leave out threshold=.2"),
        (("--response", "sure"), "chosen for prompt_harm, this conversation is judged"),
    ],
    ids=["model", "two", "classifier", "strategy", "threshold", "task"],
)
def test_another_guard_is_refused(
    args: tuple[str, ...], message: str, point: Path, folder: Path, safebench: Run
) -> None:
    """Other words in the list, another classifier, strategy, threshold or task."""
    (folder / "other.txt").write_text("other", encoding="utf-8")

    result = safebench("score", "--operating-point", point.name, *args, "a bomb")

    assert 2 == result.exit_code
    assert message in result.stderr
    assert 1 == len(result.stderr.splitlines())


def test_a_missing_file_is_refused(folder: Path, safebench: Run) -> None:
    """The message names the command that writes one."""
    result = safebench("score", "--operating-point", "none.json", "a bomb")

    assert 2 == result.exit_code
    assert "safebench threshold RUN ... --save" in result.stderr
    assert not (folder / "none.json").exists()


@pytest.mark.parametrize(
    ("review", "actions"),
    [
        (None, ["pass", "pass", "block", "block"]),
        ({"low": 0.4, "high": 0.5}, ["pass", "review", "block", "block"]),
        ({"low": 0.5, "high": None}, ["pass", "pass", "review", "review"]),
    ],
    ids=["none", "band", "all-flagged"],
)
def test_scores_at_an_end_belong_above_it(
    review: dict[str, float | None] | None, actions: list[str]
) -> None:
    """A score that equals a threshold reaches it."""
    known = OperatingPoint(
        classifier={},
        configuration={},
        strategy={},
        calibrator=None,
        task="prompt_harm",
        policy=None,
        threshold=0.5,
        review=review,
        chosen={},
        realised=[],
    )

    assert actions == [known.action(score) for score in (0.39, 0.4, 0.5, 0.9)]


def test_the_page_asks_the_point_alone(point: Path) -> None:
    """One classifier and strategy are offered, and the action stands in the answer."""
    plugins = Plugins()
    state = AppState(plugins=plugins, deployment=deploy(point, plugins))
    client = create_app(state).test_client()

    form = client.get("/").get_data(as_text=True)
    words = " ".join(WORDS)
    answer = client.post("/", data={"prompt": words}).get_data(as_text=True)
    other = client.post("/", data={"prompt": words, "strategy": "greedy"})
    response = client.post("/", data={"prompt": words, "response": "sure"})

    assert "llamaguard" not in form
    assert "Operating point: <strong>block</strong>" in answer
    assert (400, 400) == (other.status_code, response.status_code)
    assert "was chosen for prompt_harm" in response.get_data(as_text=True)


def test_a_point_without_a_number_is_none(point: Path) -> None:
    """JSON's NaN is no threshold, sealed or not."""
    content = read_point(point).to_json() | {"threshold": float("nan")}
    point.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(DataError, match="is no operating point"):
        read_point(point)


def test_a_point_is_measured_on_another_run(
    point: Path, folder: Path, safebench: Run
) -> None:
    """Its rates are those it was saved with; another split of its set is refused."""
    stored = json.loads(point.read_text(encoding="utf-8"))
    options = ("--operating-point", point.name)

    measured = safebench("threshold", "one", *options, "--format", "json")
    beside = safebench("threshold", "one", *options, "--max-fpr", ".1")
    safebench(
        *("run", "-c", "keyword,words=here/words.txt", "-d", "mine.jsonl"),
        *("--calibration-fraction", "0.5", "--out", "runs/two"),
    )
    refused = safebench("threshold", "two", *options)

    assert 0 == measured.exit_code, measured.output
    (report,) = json.loads(measured.stdout)
    assert stored["realised"] == [s["test"] for s in report["sets"]]
    assert (2, 2) == (beside.exit_code, refused.exit_code)
    assert "leave out --max-fpr" in beside.stderr
    assert "other held-out samples of mine" in refused.stderr
    assert 1 == len(refused.stderr.splitlines())


def test_calibrated_scores_are_decided_on_their_own_scale(
    point: Path, safebench: Run
) -> None:
    """The point carries the fitted calibrator: the run folder is not needed."""
    ran = safebench("calibrate", "one", "--method", "platt")
    assert 0 == ran.exit_code, ran.output
    options = ("--of", "keyword/score+platt", "--max-fpr", ".3", "--save", "p.json")
    assert 0 == safebench("threshold", "one", *options).exit_code
    shutil.rmtree(point.parent / "runs")
    raw, calibrated = (
        read_point(point.parent / name) for name in (point.name, "p.json")
    )
    state = (calibrated.calibrator or {})["state"]

    result = safebench(
        *("score", "--operating-point", "p.json", "--json"), "a bomb, poison, a virus"
    )

    answer = json.loads(result.stdout)
    score = 1 / (1 + math.exp(-state["slope"] * 0.75 - state["offset"]))
    threshold = 1 / (1 + math.exp(-state["slope"] * raw.threshold - state["offset"]))
    assert math.isclose(score, answer["score"])
    assert math.isclose(threshold, calibrated.threshold)
    assert ("block" if score >= threshold else "pass") == answer["action"]
