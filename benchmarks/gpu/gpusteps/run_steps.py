"""Run steps one after another, each in a process and a time budget of its own.

A step that fails, runs out of memory or passes its budget takes nothing from the next
ones: what is known is written after every step.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safebench.testing.process_groups import renew_threads

from .checkout import ROOT
from .packages import missing_for
from .steps import MACHINE, STEPS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .setup import Setup
    from .steps import Step

PACKAGES = (
    *("safebench", "torch", "transformers", "numpy"),
    *("accelerate", "peft", "tokenizers"),
)
MEASURED = "measured"  # the state of a step that has numbers
# What a number may hang on: the code that is measured, and what measures it.
SOURCES = (
    "harness/safebench/**/*.py",
    "plugins/*/src/**/*.py",
    "benchmarks/*.py",
    "benchmarks/gpu/**/*.py",
    "benchmarks/speed/**/*.py",
)


class Record:
    """The file of results; steps of an earlier run on the same machine stay in it."""

    def __init__(self, path: Path, setup: Setup, machine: dict[str, Any]) -> None:
        self.path = path
        self.code = code_version()
        budgets = {step.name: step.budget for step in STEPS}
        self.content: dict[str, Any] = {
            "command": "benchmarks/gpu.sh" + (" --dry" if setup.dry else ""),
            "dry": setup.dry,
            "versions": _versions(),
            "device": machine,
            "budget_seconds": budgets,
            "steps": {},
        }
        self.replaces = ""  # which machine's numbers the file held
        self.content["steps"] = self._earlier_steps()

    def _earlier_steps(self) -> dict[str, Any]:
        try:
            old = json.loads(self.path.read_text(encoding="utf-8"))
            same = all(old[k] == self.content[k] for k in ("dry", "versions", "device"))
            steps: dict[str, Any] = old["steps"] if same else {}
            if not same:
                self.replaces = str(old["device"]["name"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return steps

    def has(self, step: Step) -> bool:
        """Tell whether the file has a step's numbers, measured with this code."""
        earlier = self.content["steps"].get(step.name, {})
        return (earlier.get("state"), earlier.get("code")) == (MEASURED, self.code)

    def add(self, step: Step, found: dict[str, Any]) -> None:
        """Add what a step found, and write the file.

        A failure takes no earlier numbers away: it is noted beside them.
        """
        earlier = self.content["steps"].get(step.name, {})
        entry = {"what": step.what, "code": self.code, **found}
        if found["state"] != MEASURED and earlier.get("state") == MEASURED:
            entry = {**earlier, "later_try": found}
        self.content["steps"][step.name] = entry
        part = self.path.with_name(f"{self.path.name}.part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        part.replace(self.path)


def code_version() -> str:
    """Return a checksum of the sources that numbers hang on."""
    digest = hashlib.sha256()
    for path in sorted({path for glob in SOURCES for path in ROOT.glob(glob)}):
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def run_steps(
    names: Sequence[str],
    setup: Setup,
    out: Path,
    say: Callable[[str], None],
    *,
    again: bool = False,
) -> int:
    """Run the steps of these names; return how many have no numbers.

    Steps that the file has, of this machine and code, are left out but for `again`.
    """
    if setup.dry:
        import_module(".machine", __package__)  # PyTorch, for all processes
    machine = run_step(MACHINE, setup)
    if machine["state"] != MEASURED:
        say(f"machine: {machine['state']}: {machine['error']}")
        return len(names)
    record = Record(out, setup, machine["numbers"])
    say(f"on {machine['numbers']['name']}, into {out.name}")
    if record.replaces:
        say(f"of {record.replaces}, or other versions, are the numbers it replaces")
    due = [s for s in STEPS if s.name in names and (again or not record.has(s))]
    if kept := [name for name in names if name not in {step.name for step in due}]:
        say(f"measured before with this code, --again repeats them: {', '.join(kept)}")
    if setup.dry:
        _import_all(due, setup)
    missed = 0
    for step in due:
        found = run_step(step, setup)
        record.add(step, found)
        missed += found["state"] != MEASURED
        error = f": {found['error']}" if "error" in found else ""
        say(f"{step.name}: {found['state']}, {found['seconds']} s{error}")
    return missed


def _import_all(steps: Sequence[Step], setup: Setup) -> None:
    """Import what forked processes of a dry run then find, and build the guard."""
    for step in steps:
        with suppress(Exception):  # which is the step's own to tell
            import_module(f".{step.name}", __package__)
    setup.guard(1)
    gc.freeze()  # or each of them would look for garbage in all of that


def run_step(step: Step, setup: Setup) -> dict[str, Any]:
    """Run a step in a process; return its state, seconds, and numbers or error.

    The state is "measured", "failed" or "over budget".
    """
    if absent := missing_for(step.name):
        error = f"not installed: {', '.join(absent)}"
        return {"state": "failed", "seconds": 0.0, "error": error}
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
        state = "failed" if "error" in found else MEASURED
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
