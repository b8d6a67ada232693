r"""The numbers on calibration of docs/decisions.md, from a run folder.

    safebench run -c llamaguard -s marginal_any -d toxic_chat -d xstest \
        -d openai_moderation -d wildguardmix --limit 600 --out runs/decisions
    python benchmarks/decision/calibration.py runs/decisions \
        benchmarks/results/calibration.json

The file holds what `safebench calibrate --format json` says, with 6 digits.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from click.testing import CliRunner

from safebench import __version__
from safebench.cli import cli
from safebench.files import write_json
from safebench.plugins import Plugins

METHODS = ("temperature", "platt", "beta", "isotonic", "histogram", "batch")
OF = ("--of", "llamaguard/marginal_any")
KEPT = ("dataset", "calibrator", "fit", "transductive", "refused")


def calibrate(plugins: Plugins, run: str, *options: str) -> list[dict[str, object]]:
    """Return what the command says of each set and calibrator."""
    command = ["calibrate", run, *OF, *options, "--format", "json"]
    answer = CliRunner().invoke(cli, command, obj=plugins, catch_exceptions=False)
    if answer.exit_code:
        raise SystemExit(answer.output)
    return [
        {name: result[name] for name in KEPT}
        | {
            loss["metric"]: {
                key: float(f"{value:.6g}") if isinstance(value, float) else value
                for key, value in loss.items()
            }
            for loss in result["losses"]
        }
        for result in json.loads(answer.stdout)
    ]


def main() -> None:
    """Calibrate each set by its own labels, then all by those of one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("result", type=Path)
    args = parser.parse_args()
    plugins = Plugins()
    methods = [word for name in METHODS for word in ("--method", name)]
    own = calibrate(plugins, args.run, *methods)
    moved = calibrate(plugins, args.run, "-m", "platt", "--fit-on", "toxic_chat")
    write_json(args.result, {"version": __version__, "own": own, "moved": moved})


if __name__ == "__main__":
    main()
