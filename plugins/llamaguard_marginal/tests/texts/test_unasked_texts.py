"""A server that gives texts alone, and a user who does not know it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench_llamaguard_marginal.engines import discovery

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {
    "calm": {"safe": 1.0},
    "torn": {"unsafe\nS1,S10": 0.6, "safe": 0.4},
    "grim": {"unsafe\nS9": 1.0},
}
SAMPLED = ("--set", "samples=2")


def rows_of(out: Path) -> list[Any]:
    """Return the rows of a run's results."""
    return [json.loads(x) for x in (out / "results.jsonl").read_text().splitlines()]


def asked(server: Any) -> list[str]:
    """Return the prompts that were answered, checks of the server left out."""
    return [prompt for prompt, *_ in server.written if prompt in TEXTS]


def settled_run(server: Any, out: Path, *more: str) -> Any:
    """Run the command line as somebody does who knows nothing of the server."""
    discovery._known.clear()
    data = out.parent / "data.jsonl"
    rows = [{"prompt": t, "label": ("safe", "unsafe")[t != "calm"]} for t in TEXTS]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"engine": "openai", "base_url": server.address}
    given = (f"--set={k}={v}" for k, v in (settings | {"backoff": 0.01}).items())
    arguments = ("run", "-c", "guard", "-d", str(data), "--out", str(out), *given)
    profile = "--set=profile=llama-guard-3"
    return CliRunner().invoke(cli, [*arguments, profile, *more], obj=Plugins())


@pytest.mark.slow
def test_a_server_that_gives_texts_alone_is_read_by_them_unasked(
    server: Any, tmp_path: Path
) -> None:
    """The run says what was recorded and why; evidence is that of logprobs=no."""
    server.table, out = TEXTS, tmp_path / "out"

    result = settled_run(server, out)

    assert 0 == result.exit_code, result.output
    notes = {row["note"] for row in rows_of(out)}
    assert "greedy" == rows_of(out)[0]["strategy"]
    assert "the server gives no log-probabilities (an answer came" in str(notes)
    n_asked = len(asked(server))
    assert 3 == n_asked
    explicit = settled_run(server, out, "--set=logprobs=no")
    assert 0 == explicit.exit_code, explicit.output
    # neither needs the server again
    server.scripted, server.models = [lambda _: (503, {}, {})] * 99, None
    assert 0 == settled_run(server, out).exit_code
    assert n_asked == len(asked(server))
    refused = settled_run(server, out, "--set=logprobs=yes", "--set=api=chat")
    assert 2 == refused.exit_code
    assert "holds another run" in refused.output


@pytest.mark.slow
def test_strategies_that_texts_do_not_allow_are_left_out_before_a_sample_is_asked(
    server: Any, tmp_path: Path
) -> None:
    """One that is named alone is an error, and no prompt is spent on it."""
    server.table = TEXTS

    alone = settled_run(server, tmp_path / "a", "-s", "joint")
    assert (2, []) == (alone.exit_code, asked(server))
    assert "joint needs VerdictTree, which is not recorded" in alone.output
    several = settled_run(
        server, tmp_path / "c", *("-s", "joint", "-s", "self_consistency"), *SAMPLED
    )
    assert 0 == several.exit_code, several.output
    assert {"self_consistency"} == {r["strategy"] for r in rows_of(tmp_path / "c")}
    assert "skipped guard x joint" in several.output


@pytest.mark.slow
def test_scores_of_a_log_that_are_all_there_need_no_server(
    server: Any, tmp_path: Path
) -> None:
    """What was recorded says that it is texts."""
    log, out = tmp_path / "log.jsonl", tmp_path / "out"
    log.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    server.table = TEXTS

    def score() -> Any:
        discovery._known.clear()
        given = {"engine": "openai", "base_url": server.address}
        given |= {"profile": "llama-guard-3"}
        options = [f"--set={name}={value}" for name, value in given.items()]
        arguments = ["score", str(log), "-c", "guard", *options, "-o", str(out)]
        return CliRunner().invoke(cli, arguments, obj=Plugins())

    first = score()
    assert 0 == first.exit_code, first.output
    server.scripted, server.models = [lambda _: (503, {}, {})] * 99, None
    again = score()

    assert 0 == again.exit_code, again.output
    assert "3 scored before" in again.output
    assert 3 == len(asked(server))
