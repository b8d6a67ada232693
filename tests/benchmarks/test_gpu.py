"""The measurement for a GPU runs from end to end, tiny, on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
STEPS = {
    *("engine", "floor", "flops", "invariance"),
    *("memory", "digest", "members", "training"),
}


@pytest.fixture(autouse=True)
def _importable() -> Iterator[None]:
    """Let the script's own package be imported."""
    sys.path.insert(0, str(ROOT / "benchmarks/gpu"))
    yield
    sys.path.remove(str(ROOT / "benchmarks/gpu"))


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script with this interpreter."""
    return subprocess.run(
        [str(ROOT / "benchmarks/gpu.sh"), *map(str, arguments)],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_dry_run_measures_every_step(tmp_path: Path) -> None:
    """All steps leave numbers, and those that can be right or wrong are right."""
    out = tmp_path / "gpu.json"

    done = run("--dry", "--out", out)

    assert 0 == done.returncode, done.stderr
    document = json.loads(out.read_text())
    steps = document["steps"]
    assert STEPS == set(steps)
    assert {"measured"} == {step["state"] for step in steps.values()}
    assert document["dry"]
    assert document["versions"]["torch"]
    assert str(ROOT) not in out.read_text()
    _check(**{name: step["numbers"] for name, step in steps.items()})


def _check(
    *,
    engine: Any,
    floor: Any,
    flops: Any,
    invariance: Any,
    memory: Any,
    digest: Any,
    members: Any,
    training: Any,
) -> None:
    assert {"a/c", "b/c", "a/d", "b/d"} <= set(engine["ratios"])
    assert floor["full"]["passes"] >= floor["prefill"]["passes"]
    assert 0 < flops["prefill_utilisation"]
    assert 1e-5 > invariance["by_rows"]["1"]["score"]["max_difference"]
    assert [2, 1, 1] == memory["rows_tried"]
    assert 1 == memory["failures"]
    assert 1e-5 > memory["max_difference"]
    assert digest["listed"] >= digest["rows"]
    assert all(digest["lists_equal"].values())
    assert 1e-9 > max(digest["max_difference"].values())
    assert 2 == len(members["members"])
    assert 2 == training["cost_model"]["steps"] == training["lora"]["steps"]


def test_a_step_over_its_budget_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is killed, and what it found by then does not count."""
    from gpusteps import run_steps
    from gpusteps.setup import Setup

    monkeypatch.setattr(run_steps, "_measure", lambda *_: time.sleep(60))
    found = run_steps.run_step(run_steps.Step("slow", 0.2, ""), Setup(dry=True))

    assert "over budget" == found["state"]
    assert "ended after its 0.2 s" == found["error"]
    assert 0.2 <= found["seconds"] < 30  # of the 60 that it would take


def test_a_failure_leaves_the_other_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is in the file, and so is what an earlier run measured."""
    from gpusteps import run_steps
    from gpusteps.setup import Setup

    def pretend(step: Any, _: Any) -> dict[str, Any]:
        if step.name == broken:
            return {"state": "failed", "seconds": 1.0, "error": "ValueError: no"}
        return {"state": "measured", "seconds": 1.0, "numbers": {"name": "a chip"}}

    monkeypatch.setattr(run_steps, "run_step", pretend)
    out, said = tmp_path / "gpu.json", list[str]()
    broken = "floor"

    missed = run_steps.run_steps(["engine", "floor"], Setup(), out, said.append)
    broken = ""
    again = run_steps.run_steps(["flops"], Setup(), out, said.append)

    steps = json.loads(out.read_text())["steps"]
    assert (1, 0) == (missed, again)
    assert "ValueError: no" == steps["floor"]["error"]
    assert {"engine": "measured", "floor": "failed", "flops": "measured"} == {
        name: step["state"] for name, step in steps.items()
    }


def test_budgets_are_under_eight_minutes() -> None:
    """Even if every step takes all that it may."""
    from gpusteps.run_steps import MACHINE, STEPS

    assert 480 > MACHINE.budget + sum(step.budget for step in STEPS)


def test_packages_that_are_not_installed_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plugins are found by what is written, as an installer would write it."""
    from importlib.metadata import PackageNotFoundError, distributions

    from gpusteps import checkout

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(checkout, "version", missing)
    monkeypatch.setattr(sys, "path", list(sys.path))

    described = checkout.use_checkout(tmp_path)

    found = {d.metadata["Name"]: d for d in distributions(path=[str(tmp_path)])}
    assert set(described) == set(found) >= {"safebench", "safebench-cost-model"}
    (entry,) = found["safebench-cost-model"].entry_points
    assert ("safebench", "cost_model", "safebench_cost_model.plugin") == (
        entry.group,
        entry.name,
        entry.value,
    )


@pytest.mark.slow
def test_an_unknown_step_is_refused() -> None:
    """One line names the steps there are."""
    done = run("--dry", "--steps", "engine,flop")

    assert 2 == done.returncode
    assert "flop; there is: engine, floor, flops" in " ".join(done.stderr.split())
