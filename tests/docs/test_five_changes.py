"""What CONTRIBUTING says a change takes, done to a copy of the core and run.

Each change edits only files that the row of the table names: whoever reads the row can
make it. A guard needs no file of the core; `test_plugin_guide` writes one.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


class Edit(NamedTuple):
    """Text that is put into a file before an `anchor`, or at its end."""

    file: str
    text: str
    anchor: str = ""


CHANGES = {
    "a metric with an interval": [
        Edit(
            "metrics/decision.py",
            '''

def npv_formula(sums: Array) -> Array:
    """TN / (TN + FN)."""
    _, _, tn, fn = sums[:, 0]
    return safe_divide(tn, tn + fn)


NPV = _of_decisions(
    npv_formula,
    _ends_of_share(lambda y, _: ~y, lambda _, x: ~x),
    denominator=(TN, FN),
)


def npv(outcome: Outcome) -> MetricValue:
    """Share of harmless among what passes."""
    return MetricValue(NPV.value(outcome.y, outcome.decision))
''',
        ),
        Edit(
            "metrics/catalog.py",
            '    _spec("npv", "decision", "decision", "passed that are fine"),\n',
            '    _spec("recall",',
        ),
    ],
    "an option of `run`": [
        Edit(
            "cli/run.py",
            '@click.option("--pause", type=float, help="Seconds to wait first.")\n',
            "@flags.DEBUG",
        ),
        Edit("pipeline/config.py", "    pause: float = 0.0\n", "    seed: int = 0"),
        Edit("python_api/run_options.py", "    pause: float\n", "    seed: int\n"),
        Edit(
            "pipeline/runner.py",
            '        self.log(f"waits {self.config.pause} s")\n',
            "        skipped = [f",
        ),
    ],
    "a column of the leaderboard": [
        Edit(
            "reporters/table.py", '    "n_truncated": False,\n', '    "seconds": False'
        ),
    ],
    "a dataset": [
        Edit(
            "datasets/public.py",
            '''

def read_fables(request: DatasetRequest) -> Iterator[Example]:
    """Yield fables, harmful or not."""
    for where, row in hub_rows(request):
        label = Label(value=row["harmful"])
        yield Example(turns=exchange(row["text"]), label=label, where=where)
''',
        ),
        Edit(
            "datasets/catalog.py",
            '    _public("fables", "read_fables", "aesop/fables", "CC0-1.0", "old",\n'
            '            splits="test"),\n',
            '    _public(\n        "xstest", "read_xstest"',
        ),
    ],
}


def rows_of_the_table() -> dict[str, str]:
    """Return what CONTRIBUTING says is touched, by what is added."""
    table = TEXT.partition("### Where does it go")[2].partition("##")[0]
    cells = re.findall(r"^\| (.+?) \| (.+?) \| .+? \|$", table, re.MULTILINE)
    return dict(cells[1:])


def apply(edit: Edit, core: Path) -> None:
    """Make one edit."""
    path = core / edit.file
    text = path.read_text(encoding="utf-8")
    at = text.index(edit.anchor) if edit.anchor else len(text)
    path.write_text(text[:at] + edit.text + text[at:], encoding="utf-8")


@pytest.fixture(scope="module")
def safebench(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return the command of a copy of the core in which all changes are made."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(ROOT / "harness" / "safebench", folder / "core" / "safebench")
    for edits in CHANGES.values():
        for edit in edits:
            apply(edit, folder / "core" / "safebench")
    data = folder / "data" / "aesop" / "fables"
    data.mkdir(parents=True)
    rows = [
        {
            "text": f"how to kill {i} foxes" if i % 4 == 0 else f"{i} sour grapes",
            "harmful": i % 4 == 0 or i % 11 == 0,
        }
        for i in range(60)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (data / "test.jsonl").write_text(lines)
    path = os.pathsep.join([str(folder / "core"), *sys.path])
    env = os.environ | {"PYTHONPATH": path, "SAFEBENCH_DATA": str(folder / "data")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "safebench", *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env=env,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def run_output(safebench: Callable[..., str]) -> str:
    """Return what a run on the new dataset, with the new option, prints."""
    return safebench("run", "-c", "keyword", "-d", "fables", "--pause", "0.25")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_touches_what_its_row_names(change: str) -> None:
    """No other file is edited, and none that the row does not name."""
    named = rows_of_the_table()[change]

    for edit in CHANGES[change]:
        assert f"`{edit.file}`" in named


def test_a_guard_touches_nothing_of_ours() -> None:
    """The row says so; the guide is followed in a test of its own."""
    assert "nothing of ours" in rows_of_the_table()["a guard"]


def test_a_new_dataset_is_run_with_a_new_option(run_output: str) -> None:
    """The reader's rows are judged, and the option is read where it is used."""
    assert "waits 0.25 s" in run_output
    assert "fables" in run_output


def test_a_new_metric_has_its_interval_and_a_new_column_its_place(
    run_output: str, safebench: Callable[..., str]
) -> None:
    """The share of harmless among what passes, between its ends; a column beside it."""
    assert run_output
    table = safebench(
        *("leaderboard", "runs/keyword-fables", "--format", "csv", "--ci"),
        *("--metrics", "npv,n_truncated"),
    )

    (row,) = csv.DictReader(io.StringIO(table))
    assert float(row["npv_low"]) <= float(row["npv"]) <= float(row["npv_high"])
    assert "0" == row["n_truncated"]
