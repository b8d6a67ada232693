"""Guards and strategies that misbehave: each is named, and all others go on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    Run = Callable[..., CompletedProcess[str]]

PLUGIN = "of plugin unruly (safebench-test-unruly 4.5.6)"
CLASSIFIERS = {
    "load-raises": "KeyError: 'secret-word'",
    "load-exits": "SystemExit: called sys.exit(0)",
    "load-nothing": "made a LoadNothing, no Classifier",
    "raises": "ZeroDivisionError: secret-word",
    "exits": "SystemExit: called sys.exit(0)",
    "dies": "Nasty: its message cannot be read",
    "nothing": "record() returned None",
    "not-a-number": "no score (NaN)",
    "too-sure": "a probability of 2",
}
STRATEGIES = {
    "s-raises": "ZeroDivisionError: secret-word",
    "s-exits": "SystemExit: called sys.exit(0)",
    "s-dies": "Nasty: its message cannot be read",
    "s-nothing": "returned no judgements but None",
    "s-too-few": "returned 0 of 1 judgements",
    "s-too-sure": "a probability of 2",
    "s-endless": "a probability of inf",
    "s-greedy": "read-only",
}


@pytest.fixture
def score(install: Any) -> Run:
    """Return ``safebench score`` as a process in which the unruly are installed."""
    installed = install("unruly")

    def run(*args: str) -> CompletedProcess[str]:
        result: CompletedProcess[str] = installed.safebench("score", *args)
        return result

    return run


def rows(result: CompletedProcess[str]) -> list[dict[str, Any]]:
    """Return the JSON lines of a result, whose standard output has nothing else."""
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_a_classifier_that_fails_is_named_and_the_next_one_judges(score: Run) -> None:
    """A line each with plugin and reason, nulls in their rows, exit code 1."""
    names = [arg for name in CLASSIFIERS for arg in ("-c", name)]

    result = score(*names, "-c", "keyword", "--json", "attack")

    assert 1 == result.returncode
    *failed, last = rows(result)
    errors = result.stderr.splitlines()
    assert len(CLASSIFIERS) == len(failed) == len(errors), result.stderr
    for (name, reason), row, line in zip(
        CLASSIFIERS.items(), failed, errors, strict=True
    ):
        assert f"classifier {name!r} {PLUGIN}" in line
        assert reason in line
        assert (name, None, None) == (row["classifier"], row["verdict"], row["score"])
        assert row["error"] in line
    assert ("keyword", "unsafe", 0.5) == (
        last["classifier"],
        last["verdict"],
        last["score"],
    )


@pytest.mark.slow
def test_a_strategy_that_fails_is_named_and_the_next_one_judges(score: Run) -> None:
    """What one changes or raises does not reach the score of the last: .9."""
    names = [arg for name in STRATEGIES for arg in ("-s", name)]

    result = score("-c", "calm", *names, "-s", "score", "--json", "attack")

    assert 1 == result.returncode
    *failed, last = rows(result)
    errors = result.stderr.splitlines()
    assert len(STRATEGIES) == len(failed) == len(errors), result.stderr
    for (name, reason), row, line in zip(
        STRATEGIES.items(), failed, errors, strict=True
    ):
        assert f"strategy {name!r} {PLUGIN}" in line
        assert reason in line
        assert (name, None, None) == (row["strategy"], row["verdict"], row["score"])
    assert (0.9, "unsafe") == (last["score"], last["verdict"])


@pytest.mark.slow
def test_what_they_print_does_not_reach_the_output(score: Run) -> None:
    """Python's print, C code and a write to the descriptor go to standard error."""
    result = score("-c", "chatty", "-s", "score", "-s", "s-chatty", "--json", "attack")

    assert 0 == result.returncode
    assert [0.9, 0.25] == [row["score"] for row in rows(result)]
    assert 5 == result.stderr.count("chatter")


@pytest.mark.slow
def test_one_bad_line_costs_its_own_verdict_alone(score: Run, tmp_path: Any) -> None:
    """Of three lines the second fails; a model that cannot be made fails once."""
    file = tmp_path / "lines.jsonl"
    texts = ("good", "bad", "better")
    file.write_text("".join(json.dumps({"prompt": t}) + "\n" for t in texts), "utf-8")
    guards = ("-c", "picky", "-c", "load-raises")

    result = score(*guards, "--json", "--prompt-file", str(file))

    assert 1 == result.returncode
    verdicts = [(row["classifier"], row["verdict"]) for row in rows(result)]
    assert [
        ("picky", "unsafe"), ("load-raises", None),
        ("picky", None), ("load-raises", None),
        ("picky", "unsafe"), ("load-raises", None),
    ] == verdicts  # fmt: skip
    assert (
        f"lines.jsonl:2: no verdict by picky x score: classifier 'picky' {PLUGIN}"
        in (result.stderr)
    )


@pytest.mark.slow
def test_debug_shows_where_it_failed(score: Run) -> None:
    """The traceback leads into the plugin's file."""
    result = score("-c", "raises", "--debug", "attack")

    assert 1 == result.returncode
    assert "parts.py" in result.stderr
    assert "ZeroDivisionError: secret-word" in result.stderr


@pytest.mark.slow
def test_one_error_of_a_model_is_one_line(score: Run) -> None:
    """However many strategies would have read it."""
    result = score("-c", "raises", "-s", "all", "attack")

    assert 1 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert len(STRATEGIES) < result.stdout.count("verdict      none")
