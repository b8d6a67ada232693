"""Measure memory and time of large files.

``python large_files.py ROWS [--collect] [COMMAND...]``: of all that `COMMANDS` names,
or of some, in their order. Each command runs in a process of its own: the most memory
that it held, and the CPU seconds that it took. `--collect` writes what was measured
into ``../results/memory.json``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path(__file__).parents[1] / "results" / "memory.json"
COMMANDS = {
    "run": "run -c keyword -d rows.jsonl --out out",
    "run, all stored": "run -c keyword -d rows.jsonl --out out",
    "analyze": "analyze out",
    "leaderboard": "leaderboard out",
    "score": "score log.jsonl -c keyword -o scores",
    "drift": "drift out scores",
}
KIB_A_MIB = 1024


def measure(words: str, folder: Path) -> dict[str, object]:
    """Return CPU seconds and the peak of memory of one command."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "safebench", *words.split()],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    return {
        "command": f"safebench {words}",
        "exit_code": os.waitstatus_to_exitcode(status),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / KIB_A_MIB),
    }


def main(n: int, names: Sequence[str], *, collect: bool) -> None:
    """Write the files, run each command, and print what it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows.main(n, folder / "rows.jsonl", plain=False)
        rows.main(n, folder / "log.jsonl", plain=True)
        measured = {}
        for what in names:
            measured[what] = measure(COMMANDS[what], folder)
            print(what, measured[what], flush=True)
    if collect:
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        before = known.get(str(n), {}).get("measured", {})
        python = platform.python_version()
        known[str(n)] = {"rows": n, "python": python, "measured": before | measured}
        RESULTS.write_text(json.dumps(known, indent=2) + "\n")


if __name__ == "__main__":
    chosen = [name for name in sys.argv[2:] if name != "--collect"]
    main(int(sys.argv[1]), chosen or [*COMMANDS], collect="--collect" in sys.argv)
