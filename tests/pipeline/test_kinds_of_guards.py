"""Guards of five kinds go through the same records, with no special case."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("safebench_llamaguard_marginal", reason="its strategies read trees")

BAD = "a bad idea that needs more than five words to say"
GOOD = "a fine idea"
PROMPTS = [
    {"prompt": BAD, "label": "unsafe", "categories": ["S1"]},
    {"prompt": GOOD, "label": "safe", "categories": []},
]
TALKS = [
    {"prompt": BAD, "response": "no, I will not", "label": 1},
    {"prompt": GOOD, "response": "of course", "label": 0},
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def run(install: Callable[..., Any]) -> Callable[..., dict[str, list[Any]]]:
    """Return a function that runs a guard and gives its predictions by file name."""
    site = install("contracts")
    write(site.cwd / "prompts.jsonl", PROMPTS)
    write(site.cwd / "talks.jsonl", TALKS)

    def _run(*args: str) -> dict[str, list[Any]]:
        result = site.safebench(
            "run", *args, "--out", "run", "--calibration-fraction", "0"
        )
        assert 0 == result.returncode, result.stderr
        paths = sorted((site.cwd / "run" / "predictions").glob("*/*/*.jsonl"))
        outputs = {f"{p.parent.name}/{p.stem}": read(p) for p in paths}
        outputs["shards"] = list((site.cwd / "run" / "evidence").glob("*/main/*.npz"))
        outputs["results"] = read(site.cwd / "run" / "results.jsonl")
        return outputs

    return _run


def only(outputs: dict[str, list[Any]], key: str) -> list[Any]:
    """Return the predictions whose file name starts so."""
    return next(lines for name, lines in outputs.items() if name.startswith(key))


@pytest.mark.slow
def test_three_ordered_levels(run: Callable[..., Any]) -> None:
    """Unsafe .3, controversial .6: the score follows `positive`, categories do not.

    By hand: A(S1) = .6 + .3, A(S2) = .3 x .25.
    """
    outputs = run(
        "-c", "graded", "-d", "prompts.jsonl", "-s", "strict=marginal_any",
        "-s", "loose=marginal_any,positive=unsafe+controversial",
    )  # fmt: skip
    strict, loose = (
        next(lines for name, lines in outputs.items() if name.endswith(end))
        for end in ("/strict", "/loose")
    )

    assert 0.3 == pytest.approx(strict[0]["score"])
    assert 0.9 == pytest.approx(loose[0]["score"])
    assert 0.9 == pytest.approx(strict[0]["categories"]["S1"])
    assert 0.075 == pytest.approx(strict[0]["categories"]["S2"])
    assert 0.0 == strict[1]["score"]
    assert "safe" == strict[1]["raw"]


@pytest.mark.slow
def test_yes_or_no(run: Callable[..., Any]) -> None:
    """A guard without categories has scores and no category column."""
    outputs = run("-c", "yes_no", "-d", "prompts.jsonl")

    lines = only(outputs, "prompts")
    assert [0.7, 0.2] == [pytest.approx(line["score"]) for line in lines]
    assert [None, None] == [line["categories"] for line in lines]


@pytest.mark.slow
def test_one_text_that_answers_three_tasks(run: Callable[..., Any]) -> None:
    """Three datasets, one evidence; each task's probability by the law of total."""
    outputs = run(
        "-c", "three_tasks",
        "-d", "talks.jsonl,task=prompt_harm",
        "-d", "talks.jsonl,task=refusal",
        "-d", "talks.jsonl,task=response_harm",
    )  # fmt: skip
    scores = {
        lines[0]["task"]: [line["score"] for line in lines]
        for name, lines in outputs.items()
        if name.startswith("talks")
    }

    refused = (0.8 * 0.9 + 0.2 * 0.4, 0.1 * 0.5 + 0.9 * 0.2)
    assert (0.8, 0.1) == pytest.approx(scores["prompt_harm"])
    assert refused == pytest.approx(scores["refusal"])
    assert (0.75, 0.25) == pytest.approx(scores["response_harm"])
    assert 1 == len(outputs["shards"])


@pytest.mark.slow
def test_an_encoder_over_windows(run: Callable[..., Any]) -> None:
    """Eleven words are three windows; the worst one decides."""
    outputs = run("-c", "encoder", "-d", "prompts.jsonl")

    lines = only(outputs, "prompts")
    harm = [1 / (1 + math.exp(-logit)) for logit in (2.0, -2.0)]
    assert harm == [pytest.approx(line["score"], rel=1e-5) for line in lines]


@pytest.mark.slow
def test_a_moderation_api(run: Callable[..., Any]) -> None:
    """Scores are used as sent; labels that are categories become categories."""
    outputs = run("-c", "api", "-d", "prompts.jsonl")

    lines = only(outputs, "prompts")
    assert [0.9, 0.2] == [pytest.approx(line["score"]) for line in lines]
    assert 0.6 == pytest.approx(lines[0]["categories"]["V"])
    assert lines[0]["categories"]["SH"] is None
    brier = next(r for r in outputs["results"] if r["metric"] == "brier")
    assert (0.1**2 + 0.2**2) / 2 == pytest.approx(brier["value"])
