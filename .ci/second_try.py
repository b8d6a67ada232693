"""A pytest plugin: which tests of a run that failed may be run once more.

A test that fails by chance, one in ten thousand, must not hold back what is right, and
must not be hidden either: its name is printed. Everything else stays an error: a file
that cannot be collected, a worker that crashed, a run without tests, many failures.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MOST = 3  # more than that is no chance

# By which pytest has found this file; no process that a test starts is to find it.
PATHS = [p for p in os.environ.pop("PYTHONPATH", "").split(os.pathsep) if p]
if paths := [path for path in PATHS if Path(path) != Path(__file__).parent]:
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `.ci/run` gives."""
    group = parser.getgroup("second try")
    group.addoption("--failed-into", help="file for the ids of up to three failures")
    group.addoption("--must-pass", help="file of ids, all of which have to pass")


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run, in the process that hears of all tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Watch(config), "second-try")


class Watch:
    """What happened in a run."""

    def __init__(self, config: pytest.Config) -> None:
        self._failed_into = config.getoption("--failed-into")
        self._must_pass = config.getoption("--must-pass")
        self._passed: set[str] = set()
        self._failed: dict[str, None] = {}
        self._is_broken = False
        if self._failed_into:
            Path(self._failed_into).write_text("", encoding="utf-8")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not be collected."""
        self._is_broken |= report.failed

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, error: object) -> None:
        """Note a worker that did not end by itself."""
        self._is_broken |= bool(error)

    def pytest_internalerror(self) -> None:
        """Note an error outside of all tests."""
        self._is_broken = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a phase of a test."""
        if report.failed:
            self._failed[report.nodeid] = None
        elif report.when == "call" and report.passed:
            self._passed.add(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write what may be tried again; turn down a second try that did not pass."""
        if self._failed_into and self._may_be_tried_again(exitstatus):
            ids = "".join(f"{nodeid}\n" for nodeid in self._failed)
            Path(self._failed_into).write_text(ids, encoding="utf-8")
        if self._must_pass:
            ids = Path(self._must_pass).read_text(encoding="utf-8")
            if not set(ids.splitlines()) <= self._passed - self._failed.keys():
                session.exitstatus = exitstatus or pytest.ExitCode.TESTS_FAILED

    def _may_be_tried_again(self, exitstatus: int) -> bool:
        return (
            exitstatus == pytest.ExitCode.TESTS_FAILED
            and not self._is_broken
            and 1 <= len(self._failed) <= MOST
            and not any(len(nodeid.splitlines()) != 1 for nodeid in self._failed)
        )
