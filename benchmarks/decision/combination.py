r"""The numbers of docs/decisions.md on combinations and slices, from two run folders.

    safebench run -c llamaguard -s marginal_any -d toxic_chat -d xstest \
        -d openai_moderation -d wildguardmix --limit 600 --out runs/decisions
    safebench run -c keyword -d toxic_chat -d xstest --limit 600 --out runs/keyword
    python benchmarks/decision/combination.py runs/decisions runs/keyword \
        benchmarks/results/combination.json

Combinations are written below a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from example import rounded

from safebench import __version__
from safebench.cli import cli
from safebench.files import write_json
from safebench.plugins import Plugins

RULES = ("or", "and", "cascade:0,0.4", "mean")
SETS = ("toxic_chat", "xstest")
METRICS = ("recall", "fpr", "f1", "auroc")
COSTS = ("escalated", "forward_passes", "tokens")


def answer(plugins: Plugins, *words: str) -> Any:
    """Return what a command prints as JSON."""
    result = CliRunner().invoke(
        cli, [*words, "--format", "json"], obj=plugins, catch_exceptions=False
    )
    if result.exit_code:
        raise SystemExit(result.output)
    return json.loads(result.stdout)


def main() -> None:
    """Combine by every rule, ask for the gaps, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run")
    parser.add_argument("keyword")
    parser.add_argument("result", type=Path)
    args = parser.parse_args()
    plugins, entries = Plugins(), []
    sets = [word for name in SETS for word in ("-d", name)]
    parts = (f"{args.keyword}/keyword/score", f"{args.run}/llamaguard/marginal_any")
    with tempfile.TemporaryDirectory() as folder:
        for rule in RULES:
            out = ("--out", f"{folder}/{rule.partition(':')[0]}")
            made = answer(plugins, "combine", *parts, "--rule", rule, *sets, *out)
            for record in made["combinations"]:
                by_name = {m["metric"]: m for m in record["metrics"]}
                entries.append(
                    {
                        "rule": rule,
                        "dataset": record["dataset"],
                        "n": record["n"],
                        "cost": {name: record["cost"][name] for name in COSTS},
                        "metrics": {name: by_name[name] for name in METRICS},
                    }
                )
    gaps = answer(
        plugins, "analyze", args.run, "-d", "openai_moderation", "--gaps", "--top", "0"
    )
    write_json(
        args.result,
        {
            "version": __version__,
            "combinations": rounded(entries),
            "gaps": rounded(gaps["combinations"][0]["gaps"]),
        },
    )


if __name__ == "__main__":
    main()
