"""Evidence of two servers under one name: known as two, and never mixed in silence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from safebench.cli import cli
from safebench.plugins import Plugins
from safebench_llamaguard_marginal.engines import discovery
from safebench_llamaguard_marginal.engines.server_identity import (
    beside_earlier,
    differing_values,
)

if TYPE_CHECKING:
    from pathlib import Path

SAME = {"a": -0.5, "b": -1.5, "c": -3.0}


@pytest.mark.parametrize(
    ("now", "differs"),
    [
        (SAME, False),
        ({"a": -0.53, "b": -1.44}, False),
        ({"a": -0.5}, False),
        # the look-up of another user: what is not listed is unknown
        ({"a": -0.5, "z": -20.0}, False),
        ({"b": -1.5, "z": -0.4}, True),
        ({"x": -0.5, "y": -1.5, "z": -3.0}, True),
        ({}, False),
    ],
    ids=["same", "rounded", "shorter", "looked up", "other first", "none shared", "no"],
)
def test_weights_are_told_apart_by_what_only_one_of_them_lists(
    now: dict[str, float], differs: bool
) -> None:
    """Of few tokens that are listed, other weights may share none."""
    assert differs == differing_values([SAME, SAME], [now, SAME])


def test_a_state_beside_evidence_of_another_server_says_so_from_then_on() -> None:
    """It is that of the last server, which alone would pass for the only one."""

    def state(values: list[dict[str, float]], **more: str) -> dict[str, Any]:
        return {"server": {"max_model_len": 8, "values": values, **more}}

    own = state([SAME])
    assert own == beside_earlier(own, {}) == beside_earlier(own, own, "")
    assert state([SAME], mixed="longer") == beside_earlier(own, own, "longer")
    other = beside_earlier(own, state([{"x": -0.1, "y": -2.5}]))
    assert "other log-probabilities" in other["server"]["mixed"]
    assert other == beside_earlier(own, other)


@pytest.mark.slow
@pytest.mark.usefixtures("templates_in_a_thread")
@pytest.mark.parametrize("how", ["--set=other_server=accept", "--refresh"])
def test_a_mixture_is_noted_by_every_run_after_it(
    guard_server: Any, tiny_guard: Path, tmp_path: Path, how: str
) -> None:
    """Accepted once, or recorded again in part; all recorded again is no mixture."""
    out, own = tmp_path / "out", guard_server.distribution
    data = tmp_path / "data.jsonl"
    rows = [{"prompt": text, "label": "safe"} for text in ("How?", "Who?")]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"engine": "openai", "base_url": guard_server.address, "max_nodes": "4"}
    given = [f"--set={name}={value}" for name, value in settings.items()]

    def run(*more: str) -> str:
        discovery._known.clear()
        words = ["run", "-c", "llamaguard", "--model", str(tiny_guard), "-d", str(data)]
        words += ["-s", "marginal_any", "--shard-size", "1", "-o", str(out)]
        result = CliRunner().invoke(cli, [*words, *given, *more], obj=Plugins())
        assert 0 == result.exit_code, result.output
        return " ".join(result.output.split())

    def flatter(prompt: Any) -> Any:
        halved = own(prompt) / 2
        return halved - np.log(np.exp(halved).sum())

    run(*(["--limit", "1"] if how != "--refresh" else []))
    guard_server.distribution = flatter
    run(how, *(["--limit", "1"] if how == "--refresh" else []))

    assert "other log-probabilities" in run()
    if how == "--refresh":
        run(how)
        assert "other log-probabilities" not in run()
