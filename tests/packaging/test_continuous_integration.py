"""What continuous integration tries again, and what it never hides."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CI = Path(__file__).parents[2] / ".ci"
MADE = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
MAKEFILE = """\
test:
\t{python} -m pytest -n {workers} --dist loadfile $(ARGS)
check:
\t@echo checked
"""
GOOD = "def test_good(): pass\n"
# passes once there is a file
CHANCE = """\
import pathlib
def test_chance():
    mark = pathlib.Path("mark")
    if not mark.exists():
        mark.touch()
        assert False
"""
WRONG = "def test_wrong(): assert False\n"
FOUR = """\
import pytest
@pytest.mark.parametrize("n", range(4))
def test_four(n): assert False
"""
SKIPPED = """\
import pathlib, pytest
def test_left_out():
    mark = pathlib.Path("mark")
    if mark.exists():
        pytest.skip("the second time")
    mark.touch()
    assert False
"""
CRASH = "import os\ndef test_crash(): os._exit(3)\n"
UNREADABLE = "import nothing_of_that_name\n"


def run_ci(folder: Path, text: str, workers: int) -> tuple[int, str]:
    """Run `.ci/run` on one file of tests beside a good one; exit code and output."""
    shutil.copytree(CI, folder / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    makefile = MAKEFILE.format(python=sys.executable, workers=workers)
    (folder / "Makefile").write_text(makefile, "utf-8")
    (folder / "test_good.py").write_text(GOOD if text else "", "utf-8")
    (folder / "test_other.py").write_text(text, "utf-8")
    programs = folder / "bin"
    programs.mkdir()
    for name in ("chromium", "chromedriver"):  # there: nothing is to be installed
        (programs / name).write_text("#!/bin/sh\n", "utf-8")
        (programs / name).chmod(0o755)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p xdist"}
    # make says more, and takes other arguments, where another make calls it
    outer = {name: value for name, value in os.environ.items() if name not in MADE}
    result = subprocess.run(
        [str(folder / ".ci" / "run")],
        env=outer | plugins | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=240,
    )
    return result.returncode, result.stdout


def test_what_fails_once_is_named_and_no_error(tmp_path: Path) -> None:
    """It is run in a process of its own, and the checks come after it."""
    code, output = run_ci(tmp_path, CHANCE, workers=2)

    assert 0 == code, output
    assert output.endswith(
        "checked\npassed only at the second try: test_other.py::test_chance\n"
    )


@pytest.mark.parametrize(
    ("text", "workers", "is_tried_again"),
    [(WRONG, 0, True), (SKIPPED, 0, True), (FOUR, 0, False), (CRASH, 2, False),
     (UNREADABLE, 2, False), ("", 0, False)],
    ids=["wrong", "skipped", "four", "crash", "unreadable", "none"],
)  # fmt: skip
def test_everything_else_stays_an_error(
    tmp_path: Path, text: str, workers: int, is_tried_again: bool
) -> None:
    """Failing twice, many failures, crashes, what cannot be read, and no tests."""
    code, output = run_ci(tmp_path, text, workers)

    assert code != 0, output
    assert is_tried_again == ("run once more" in output), output
    assert "checked" not in output
    assert "only at the second try" not in output
