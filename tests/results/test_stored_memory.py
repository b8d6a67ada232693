"""The memory that predictions take grows by numbers, and not by objects."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES_A_ROW = 900  # lines as objects take 2,500 and more
ROWS = 24_000
CODE = """
import hashlib, json, resource, sys
from pathlib import Path

from safebench.calibration.calibrated import FitSource, calibrate_lines
from safebench.calibration.calibration_request import CalibrationRequest
from safebench.calibration.raw_columns import RawColumns
from safebench.combination.combined_files import combine_files
from safebench.combination.rules import parse_rule
from safebench.core_plugin import safebench_calibrators
from safebench.results.outcomes import align, to_outcome
from safebench.results.prediction_reading import StoredLines, prediction_files
from safebench.results.prediction_reading import read_prediction_file
from safebench.results.prediction_writing import write_prediction_file

PLATT = next(spec for spec in safebench_calibrators() if spec.name == "platt")

def line(row, guard):
    return {
        "id": f"set/test/{row}",
        "content": hashlib.sha256(b"%d" % row).hexdigest(),
        "group": f"group-{row}", "classifier": guard, "model": "org/guard",
        "strategy": "s", "dataset": "set", "config": None, "split": "test",
        "part": "test" if row % 3 else "calibration", "task": "prompt_harm",
        "score": (row * (7 if guard == "a" else 11) % 1000) / 1000,
        "decision": row % 1000 > 500, "probability": True,
        "label": (row * 7 % 1000 > 500) != (row % 9 == 0),
        "threshold": 0.5, "lower": None, "upper": None, "error": None,
        "tokens_in": row % 90, "tokens_dropped": 0,
    }

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

peaks = []
for n in (600, int(sys.argv[1])):
    run = Path(f"run-{n}")
    for guard in "ab":
        folder = run / "predictions" / guard / "set.test"
        folder.mkdir(parents=True)
        with (folder / "s.jsonl").open("w") as file:
            file.writelines(json.dumps(line(row, guard)) + "\\n" for row in range(n))
    files = prediction_files(run)
    raw = RawColumns.read(StoredLines(files[0].path))
    request = CalibrationRequest(label="p", spec=PLATT, producer="", options={})
    calibrated = calibrate_lines(request, raw, FitSource(raw, None, None))
    write_prediction_file(run / "c.jsonl", calibrated.lines, "jsonl")
    del raw, calibrated
    made = combine_files(parse_rule("or"), files, ("or", "s"))
    write_prediction_file(run / "d.jsonl", made.lines, "jsonl")
    del made
    sides = align(*(read_prediction_file(file.path) for file in files))[:2]
    assert [to_outcome(side).n for side in sides] == [n - -(-n // 3)] * 2
    peaks.append(peak())
print(peaks[1] - peaks[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_what_reads_predictions_holds_columns(tmp_path: Path) -> None:
    """Calibration, combination and comparison, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(ROWS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    grown = int(done.stdout)
    assert grown <= MAX_BYTES_A_ROW * ROWS, f"{grown / ROWS:.0f} bytes a row"
