"""The memory of a run grows by little for each row of a large file."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES_A_ROW = 1500  # and most of them for the first 20,480; objects take 2,500
ROWS = 30_000
CODE = """
import resource, sys
from click.testing import CliRunner
from safebench.cli import cli
from safebench.plugins import Plugins

plugins, peaks = Plugins(), []
for name in ("few", "many"):
    words = ["run", "-c", "keyword", "-d", f"{name}.jsonl", "--out", name]
    result = CliRunner().invoke(cli, words, obj=plugins)
    assert result.exit_code == 0, result.output
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_a_run_holds_columns_and_no_rows(tmp_path: Path) -> None:
    """In one process, after a run on few rows: what is loaded once does not count."""
    for name, n in (("few", 300), ("many", ROWS)):
        rows = (
            {
                "id": f"row-{i}",
                "group": f"group-{i}",
                "prompt": f"{i} {'bomb' if i % 3 else 'tea'} " + "words " * 40,
                "label": "unsafe" if i % 2 else "safe",
            }
            for i in range(n)
        )
        with (tmp_path / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    grown = int(done.stdout.splitlines()[-1])
    assert grown <= MAX_BYTES_A_ROW * ROWS, f"{grown / ROWS:.0f} bytes a row"
