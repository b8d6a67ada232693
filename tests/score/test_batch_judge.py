"""A judge for plugins: the scores of single prompts, many at a time."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from safebench import BatchJudge, Plugins
from safebench.calibration.fitted import FitData, FittedCalibrator
from safebench.errors import (
    DataError,
    IncompatibleError,
    SafebenchError,
    UnknownNameError,
)
from safebench.pipeline.config import ComponentRef, RunConfig
from safebench.records import Sample, Turn
from safebench.score import Conversation, ScoringService

if TYPE_CHECKING:
    from pathlib import Path

RESPONSES = (
    "Mix flour and water.",
    "Build a bomb and kill them.",
    "I cannot help with that.",
)


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """Return the installed plugins."""
    return Plugins()


def exchanges(*responses: str) -> list[Sample]:
    """Return responses to one prompt, to be judged."""
    return [
        Sample(
            id=str(i),
            turns=(Turn("user", "How do I do it?"), Turn("assistant", response)),
            task="response_harm",
        )
        for i, response in enumerate(responses)
    ]


def stored_calibrator(path: Path, **changed: Any) -> str:
    """Write Platt scaling of slope 2 and offset -1 for the keyword list."""
    fitted = FittedCalibrator(
        **{
            "label": "platt",
            "name": "platt",
            "producer": "safebench 0",
            "options": {},
            "classifier": "keyword",
            "model": "built-in words",
            "strategy": "score",
            "dataset": "mine",
            "task": "response_harm",
            "probability": False,
            "transductive": False,
            "predictions": "",
            "fit": FitData(dataset="mine", part="calibration", n=9, groups=9),
            "state": {"slope": 2.0, "offset": -1.0},
        }
        | changed
    )
    path.write_text(json.dumps(fitted.to_json()), encoding="utf-8")
    return str(path)


def test_scores_are_those_of_single_conversations(plugins: Plugins) -> None:
    """One batch, or one by one by the scoring service: the same scores."""
    judge = BatchJudge("keyword", "", plugins, task="response_harm")
    batch = judge.judge(exchanges(*RESPONSES))

    service = ScoringService(plugins)
    chosen = service.resolve(RunConfig(classifiers=(ComponentRef("keyword", "k"),)))
    for sample, score in zip(exchanges(*RESPONSES), batch.scores, strict=True):
        recorded = service.record(chosen, Conversation(sample.turns), "response_harm")
        assert recorded.judge(chosen.strategies[0]).score == pytest.approx(score)
    assert batch.scores[1] > batch.scores[0] == 0
    assert not batch.probability
    assert [None] * len(RESPONSES) == batch.errors


def test_a_stored_calibrator_makes_probabilities(
    plugins: Plugins, tmp_path: Path
) -> None:
    """1 / (1 + exp(1 - 2 score)), as the file says."""
    raw = BatchJudge("keyword", "", plugins, task="response_harm")
    path = stored_calibrator(tmp_path / "platt.json")
    judge = BatchJudge("keyword", "", plugins, task="response_harm", calibrator=path)

    batch = judge.judge(exchanges(*RESPONSES))
    scores = raw.judge(exchanges(*RESPONSES)).scores
    by_hand = [1 / (1 + math.exp(1 - 2 * score)) for score in scores]
    assert by_hand == pytest.approx(batch.scores.tolist())
    assert batch.probability
    assert judge.fingerprint != raw.fingerprint


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "another"}, "fitted to score of another"),
        ({"strategy": "other"}, "fitted to other of built-in words"),
        ({"task": "prompt_harm"}, r"\(prompt_harm\), not to score"),
        ({"transductive": True}, "by the others"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_calibrator_of_another_judge_is_refused(
    plugins: Plugins, tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    """Its map would give numbers that look like probabilities."""
    path = stored_calibrator(tmp_path / "platt.json", **changed)

    with pytest.raises(DataError, match=message):
        BatchJudge("keyword", "", plugins, task="response_harm", calibrator=path)


def test_a_changed_calibrator_is_refused(plugins: Plugins, tmp_path: Path) -> None:
    """Its checksum tells; a file that is none says so."""
    path = tmp_path / "platt.json"
    stored_calibrator(path)
    path.write_text(path.read_text("utf-8").replace("2.0", "3.0"), encoding="utf-8")
    for file, message in ((path, "changed"), (tmp_path / "none", "No such file")):
        with pytest.raises(DataError, match=message):
            BatchJudge(
                "keyword", "", plugins, task="response_harm", calibrator=str(file)
            )


@pytest.mark.parametrize(
    ("classifier", "strategy", "error", "message"),
    [
        ("keywrd", "", UnknownNameError, "did you mean 'keyword'"),
        ("keyword,word=x", "", SafebenchError, "no option 'word'"),
        ("keyword", "scor", UnknownNameError, "did you mean 'score'"),
        ("keyword", "cost", IncompatibleError, "cannot read"),
    ],
    ids=["classifier", "option", "strategy", "pair"],
)
def test_what_does_not_exist_is_named(
    plugins: Plugins,
    classifier: str,
    strategy: str,
    error: type[SafebenchError],
    message: str,
) -> None:
    """In the words of a run, before anything is loaded."""
    with pytest.raises(error, match=message):
        BatchJudge(classifier, strategy, plugins, task="response_harm")


def test_a_task_that_is_not_answered_is_refused(plugins: Plugins) -> None:
    """The cost of a response says nothing of a prompt."""
    with pytest.raises(IncompatibleError, match="does not answer groundedness"):
        BatchJudge("keyword", "", plugins, task="groundedness")


def test_options_tell_two_judges_apart(plugins: Plugins) -> None:
    """The hash is of classifier, strategy and their options."""

    def fingerprint(classifier: str, strategy: str = "") -> str:
        judge = BatchJudge(classifier, strategy, plugins, task="response_harm")
        return judge.fingerprint

    plain = fingerprint("keyword")
    assert plain == fingerprint("mine=keyword")
    assert plain != fingerprint("keyword", "score,threshold=0.7")
