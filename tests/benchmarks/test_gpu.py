"""The measurement for a GPU runs from end to end, tiny, on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

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
    folders = [str(ROOT / "benchmarks" / name) for name in ("gpu", "speed")]
    sys.path[:0] = folders
    yield
    for folder in folders:
        sys.path.remove(folder)


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
    from gpusteps.steps import Step

    monkeypatch.setattr(run_steps, "_measure", lambda *_: time.sleep(60))
    found = run_steps.run_step(Step("slow", 0.2, ""), Setup(dry=True))

    assert "over budget" == found["state"]
    assert "ended after its 0.2 s" == found["error"]
    assert 0.2 <= found["seconds"] < 30  # of the 60 that it would take


class Pretended:
    """Steps that measure nothing; those of `broken` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
        from gpusteps import run_steps

        self.broken: set[str] = set()
        self.ran: list[str] = []
        self.said: list[str] = []
        self.chip, self.out = "a chip", out
        self._module = run_steps
        monkeypatch.setattr(run_steps, "run_step", self._run_step)

    def _run_step(self, step: Any, _: Any) -> dict[str, Any]:
        self.ran += [step.name] if step.name != "machine" else []
        if step.name in self.broken:
            return {"state": "failed", "seconds": 1.0, "error": "ValueError: no"}
        return {"state": "measured", "seconds": 1.0, "numbers": {"name": self.chip}}

    def run(self, *names: str, again: bool = False) -> int:
        """Run steps; return how many were missed."""
        from gpusteps.setup import Setup

        self.ran.clear()
        return self._module.run_steps(
            names, Setup(), self.out, self.said.append, again=again
        )

    @property
    def steps(self) -> dict[str, Any]:
        """The steps in the file."""
        steps: dict[str, Any] = json.loads(self.out.read_text())["steps"]
        return steps


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pretended:
    """Return steps that take no time, and their file."""
    return Pretended(monkeypatch, tmp_path / "gpu.json")


def test_a_failure_leaves_the_other_steps(pretended: Pretended) -> None:
    """The error is in the file, and so is what an earlier run measured."""
    pretended.broken = {"floor"}
    missed = pretended.run("engine", "floor")
    pretended.broken.clear()
    again = pretended.run("flops")

    steps = pretended.steps
    assert (1, 0) == (missed, again)
    assert "ValueError: no" == steps["floor"]["error"]
    assert {"engine": "measured", "floor": "failed", "flops": "measured"} == {
        name: step["state"] for name, step in steps.items()
    }


def test_a_run_goes_on_where_one_was_cut(pretended: Pretended) -> None:
    """What has numbers is not repeated, unless it is asked for, or the code changed."""
    from gpusteps import run_steps

    pretended.broken = {"floor"}
    pretended.run("engine", "floor")
    pretended.broken.clear()
    pretended.run("engine", "floor", "flops")
    assert ["floor", "flops"] == pretended.ran
    assert "--again repeats them: engine" in " ".join(pretended.said)

    pretended.run("engine", again=True)
    assert ["engine"] == pretended.ran
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_steps, "code_version", lambda: "other")
        pretended.run("engine", "flops")
    assert ["engine", "flops"] == pretended.ran


def test_a_later_failure_takes_no_numbers_away(pretended: Pretended) -> None:
    """It is noted beside what was measured before."""
    pretended.run("engine")
    pretended.broken = {"engine"}

    assert 1 == pretended.run("engine", again=True)

    (step,) = pretended.steps.values()
    assert "measured" == step["state"]
    assert {"name": "a chip"} == step["numbers"]
    assert "ValueError: no" == step["later_try"]["error"]


def test_numbers_of_another_machine_are_not_mixed_in(pretended: Pretended) -> None:
    """The file holds one machine's, and the run says whose it replaces."""
    pretended.run("engine")
    pretended.chip = "another chip"

    pretended.run("floor")

    assert {"floor"} == set(pretended.steps)
    assert "of a chip, or other versions, are the numbers it replaces" in (
        pretended.said
    )


def test_the_code_version_is_that_of_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed line of a plugin is other code; documentation is not."""
    from gpusteps import run_steps

    monkeypatch.setattr(run_steps, "ROOT", tmp_path)
    source = tmp_path / "plugins/p/src/p/a.py"
    source.parent.mkdir(parents=True)
    versions = []
    for path, text in ((source, "1"), (source, "2"), (tmp_path / "README.md", "x")):
        path.write_text(text)
        versions.append(run_steps.code_version())

    first, second, third = versions
    assert first != second == third


def test_a_step_without_its_packages_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not started; the others are."""
    from gpusteps import packages, run_steps
    from gpusteps.setup import Setup
    from gpusteps.steps import STEPS

    monkeypatch.setitem(packages.NEEDED_BY, "training", {"peft": "not_here_at_all"})
    (training,) = (step for step in STEPS if step.name == "training")

    found = run_steps.run_step(training, Setup(dry=True))

    assert ("failed", "not installed: peft") == (found["state"], found["error"])


@pytest.mark.slow  # imports PyTorch
def test_a_gpu_is_read_after_it_has_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work of a GPU goes on behind the program: both ends of a clock wait for it."""
    import torch
    from guardspeed.meter import measured

    called: list[str] = []

    def note(name: str, value: Any = None) -> Any:
        return lambda *_: called.append(name) or value

    memory = iter([2**20, 2**20])  # at the start; the peak is another function's
    for name in ("synchronize", "reset_peak_memory_stats"):
        assert callable(getattr(torch.cuda, name))
        monkeypatch.setattr(torch.cuda, name, note(name))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: next(memory))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 4 * 2**20)
    monkeypatch.setattr(time, "perf_counter", note("clock", 1.0))
    network: Any = torch.nn.Identity()
    network.device = torch.device("cuda")

    with measured(network) as reading:
        called.append("work")

    ends = ["synchronize", "reset_peak_memory_stats", "clock", "work"]
    assert [*ends, "synchronize", "clock"] == called
    assert 3.0 == reading.memory_mib


@pytest.mark.slow  # imports PyTorch
def test_most_of_a_gpus_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for what is left over, in bytes: so that memory runs out for real."""
    import torch
    from gpusteps import memory

    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (140 << 30, 141 << 30))
    monkeypatch.setattr(torch, "empty", lambda *size, **how: asked.append((size, how)))

    memory._take_memory()

    expected = (135 << 30,), {"dtype": torch.uint8, "device": "cuda"}
    assert [expected] == asked


def test_budgets_are_under_eight_minutes() -> None:
    """Even if every step takes all that it may."""
    from gpusteps.steps import MACHINE, STEPS

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


def bare(
    *arguments: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the script by an interpreter that finds its own library alone."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [str(ROOT / "benchmarks/gpu.sh"), *arguments],
        env={**kept, "PYTHON": str(python), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_needs_nothing_but_python(tmp_path: Path) -> None:
    """Steps, their budgets and an example are shown where no package is."""
    done = bare("--help", folder=tmp_path)

    assert (0, "") == (done.returncode, done.stderr)
    assert "benchmarks/gpu.sh --steps engine,digest" in done.stdout
    assert STEPS <= set(done.stdout.split())


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    """It names the packages, and where their wheels would be found."""
    done = bare("--dry", folder=tmp_path, WHEELS=str(tmp_path / "carried"))

    assert 2 == done.returncode
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu.sh: missing here: torch, transformers, ")
    assert "datasets" not in line
    assert f"in {tmp_path / 'carried'} would work" in line


def wheel(folder: Path, name: str, tag: str) -> None:
    """Write a wheel of one module."""
    info = f"{name}-1.0.dist-info"
    with ZipFile(folder / f"{name}-1.0-{tag}.whl", "w") as file:
        file.writestr(f"{name}.py", "VALUE = 7\n")
        file.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\n"
            "Version: 1.0\nRequires-Dist: nobody-has-this\n",
        )
        file.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        file.writestr(f"{info}/RECORD", "")


@pytest.mark.slow
def test_carried_wheels_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By pip, without a network; one for another system stops no other."""
    from gpusteps import packages

    pytest.importorskip("pip", reason="needs pip")
    monkeypatch.setattr(sys, "path", list(sys.path))
    wheel(tmp_path, "carried_along", "py3-none-any")
    wheel(tmp_path, "carried_wrongly", "cp27-cp27m-win32")
    wheel(tmp_path, "click", "cp27-cp27m-win32")  # installed: not looked at
    said: list[str] = []

    packages.use_wheels(tmp_path, tmp_path / "unpacked", said.append)

    wanted = [("carried-along", "carried_along"), ("wrongly", "carried_wrongly")]
    assert ["wrongly"] == packages.missing(wanted)
    refused, used = said
    assert "carried_wrongly-1.0-cp27-cp27m-win32.whl: ERROR" in refused
    assert f"1 wheels of {tmp_path} are used" == used


def test_an_unknown_step_is_refused(tmp_path: Path) -> None:
    """One line names the steps there are."""
    done = bare("--dry", "--steps", "engine,flop", folder=tmp_path)

    assert 2 == done.returncode
    assert "flop; there is: engine, floor, flops" in " ".join(done.stderr.split())
