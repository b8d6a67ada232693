r"""The numbers of docs/decisions.md, from a run folder with stored predictions.

    safebench run -c llamaguard -s marginal_any -d toxic_chat -d xstest \
        -d openai_moderation -d wildguardmix --limit 600 --out runs/decisions
    python benchmarks/decision/example.py runs/decisions \
        benchmarks/results/decisions.json

Each entry holds the options of `safebench threshold` and its JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from safebench import __version__
from safebench.cli import cli
from safebench.files import write_json
from safebench.plugins import Plugins

OF = ("--of", "llamaguard/marginal_any")
ENTRIES = {
    "transfer": ("--max-fpr", "0.05", "--transfer"),
    "crc": ("-d", "toxic_chat", "--max-fpr", "0.05", "--control", "crc"),
    "ltt": ("-d", "toxic_chat", "--max-fpr", "0.05", "--control", "ltt"),
    "review": ("-d", "toxic_chat", "--max-fpr", "0.05", "--review-budget", "0.05"),
    "costs": ("-d", "toxic_chat", "--cost-fp", "1", "--cost-fn", "20"),
    "rare_costs": (
        *("-d", "toxic_chat", "--cost-fp", "1", "--cost-fn", "20"),
        *("--prevalence", "0.002"),
    ),
    "prevalence": ("-d", "toxic_chat", "--max-fpr", "0.05", "--prevalence", "0.001"),
}


def rounded(value: Any) -> Any:
    """Return JSON values with 6 digits: what a page shows, and a diff can be read."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main() -> None:
    """Ask for every entry and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("result", type=Path)
    args = parser.parse_args()
    plugins, entries = Plugins(), {}
    for name, options in ENTRIES.items():
        command = ["threshold", args.run, *OF, *options, "--format", "json"]
        answer = CliRunner().invoke(cli, command, obj=plugins, catch_exceptions=False)
        if answer.exit_code:
            raise SystemExit(answer.output)
        entries[name] = {
            "options": " ".join(options),
            "report": rounded(json.loads(answer.stdout)[0]),
        }
    write_json(args.result, {"version": __version__, "entries": entries})


if __name__ == "__main__":
    main()
