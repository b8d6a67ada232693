"""Run steps one after another, each in a process and a time budget of its own.

A step that fails, runs out of memory or passes its budget takes nothing from the next
ones: what is known is written after every step.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.testing.process_groups import renew_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .setup import Setup

MOST_SECONDS = 480
PACKAGES = (
    *("safebench", "torch", "transformers", "numpy"),
    *("accelerate", "peft", "datasets", "tokenizers"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """A module of this package; `budget` is in seconds, with the start of a process."""

    name: str
    budget: float
    what: str


MACHINE = Step("machine", 30, "what the numbers were measured on")
STEPS = (
    Step("engine", 95, "engine against plain generate and one call a node"),
    Step("floor", 45, "full and lean record, in times of one prefill a prompt"),
    Step("flops", 35, "share of the device's dense matrix rate"),
    Step("invariance", 65, "how far results move with the size of batches"),
    Step("memory", 45, "a token budget far too large ends in smaller batches"),
    Step("digest", 30, "logits digested on the device and on the host"),
    Step("members", 65, "six encoders of DistilBERT's shape"),
    Step("training", 60, "steps a second of a cost model and of a guard's LoRA"),
)


class Record:
    """The file of results; steps of an earlier run on the same machine stay in it."""

    def __init__(self, path: Path, setup: Setup, machine: dict[str, Any]) -> None:
        self.path = path
        budgets = {step.name: step.budget for step in STEPS}
        self.content: dict[str, Any] = {
            "command": "benchmarks/gpu.sh" + (" --dry" if setup.dry else ""),
            "dry": setup.dry,
            "versions": _versions(),
            "device": machine,
            "budget_seconds": budgets,
            "steps": {},
        }
        self.content["steps"] = self._earlier_steps()

    def _earlier_steps(self) -> dict[str, Any]:
        try:
            old = json.loads(self.path.read_text(encoding="utf-8"))
            same = all(old[k] == self.content[k] for k in ("dry", "versions", "device"))
            steps: dict[str, Any] = old["steps"] if same else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return steps

    def add(self, step: Step, found: dict[str, Any]) -> None:
        """Add what a step found, and write the file."""
        self.content["steps"][step.name] = {"what": step.what, **found}
        part = self.path.with_name(f"{self.path.name}.part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)


def run_steps(
    names: Sequence[str], setup: Setup, out: Path, say: Callable[[str], None]
) -> int:
    """Run the steps of these names; return how many were not measured."""
    if setup.dry:  # forked processes find them imported, and the guard built
        for name in names:
            import_module(f".{name}", __package__)
        setup.guard(1)
        gc.freeze()  # or each of them would look for garbage in all of that
    machine = run_step(MACHINE, setup)
    if machine["state"] != "measured":
        say(f"machine: {machine['state']}: {machine['error']}")
        return len(names)
    record = Record(out, setup, machine["numbers"])
    say(f"on {machine['numbers']['name']}, into {out.name}")
    missed = 0
    for step in STEPS:
        if step.name in names:
            found = run_step(step, setup)
            record.add(step, found)
            missed += found["state"] != "measured"
            error = f": {found['error']}" if "error" in found else ""
            say(f"{step.name}: {found['state']}, {found['seconds']} s{error}")
    return missed


def run_step(step: Step, setup: Setup) -> dict[str, Any]:
    """Run a step in a process; return its state, seconds, and numbers or error.

    The state is "measured", "failed" or "over budget".
    """
    # A GPU that a process has used cannot be used by its forks; a dry run saves the
    # imports.
    processes: Any = multiprocessing.get_context("fork" if setup.dry else "spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        log = Path(folder) / "log.txt"
        child = processes.Process(
            target=_measure, args=(step.name, setup, str(path), str(log))
        )
        began = time.monotonic()
        child.start()
        child.join(step.budget)
        over = child.is_alive()
        if over:
            child.kill()
            child.join()
        seconds = round(time.monotonic() - began, 1)
        if over:
            _show_log(log)
            error = f"ended after its {step.budget} s"
            return {"state": "over budget", "seconds": seconds, "error": error}
        if not path.is_file():
            _show_log(log)
            error = f"its process ended with {child.exitcode}"
            return {"state": "failed", "seconds": seconds, "error": error}
        found = json.loads(path.read_text(encoding="utf-8"))
        if "error" in found:
            _show_log(log)
        state = "failed" if "error" in found else "measured"
        return {"state": state, "seconds": seconds, **found}


def _measure(name: str, setup: Setup, path: str, log: str) -> None:
    """Run in the step's process: write its numbers or its error into a file."""
    with Path(log).open("wb") as stream:  # what libraries print
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        renew_threads()  # of a dry run's fork
        measure = import_module(f".{name}", __package__).measure
        found = {"numbers": _rounded(measure(setup))}
    except Exception as error:  # noqa: BLE001 - any failure is a result here
        traceback.print_exc()
        found = {"error": _one_line(error)}
    sys.stdout.flush()
    sys.stderr.flush()
    Path(path).write_text(json.dumps(found), encoding="utf-8")


def _one_line(error: Exception) -> str:
    """Return type, message and line of an error, without folders of this machine."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({Path(last.filename).name}:{last.lineno})"


def _rounded(value: Any) -> Any:
    from guardspeed.report import rounded  # noqa: PLC0415 - imports PyTorch

    return rounded(value)


def _show_log(log: Path) -> None:
    """Print the end of what a step's process printed."""
    if log.is_file():
        text = log.read_text(encoding="utf-8", errors="replace")
        print(text[-3000:], file=sys.stderr)


def _versions() -> dict[str, str | None]:
    result: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = None
    return result
